"""Name, finish and remove the temporary files next to a store's final name."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

from featstore.errors import FeatstoreError, InputError
from featstore.format.files import delete, sync
from featstore.format.opening import read_attributes

BUILDING, UNITS, SUPERSEDED, PACKING = ".building", ".units", ".superseded", ".packing"
PLAN = "plan.json"


def temporary(final: Path, kind: str) -> Path:
    """Return the path of a temporary file or folder next to a store."""
    return final.with_name(f".{final.name}{kind}")


def refuse_links(final: Path) -> None:
    """Refuse links at a writer's temporary folders: they could lead anywhere.

    Raises
    ------
    InputError
    """
    for kind in (BUILDING, UNITS):
        if (path := temporary(final, kind)).is_symlink():
            raise InputError(f"{path} is a link, but a build needs a folder there; remove it.")


def discard(final: Path) -> None:
    """Remove the files of an unfinished writer."""
    # Remove the plan and the root first: without them, nothing resumes from the rest.
    (temporary(final, UNITS) / PLAN).unlink(missing_ok=True)
    (temporary(final, BUILDING) / "zarr.json").unlink(missing_ok=True)
    for kind in (UNITS, BUILDING):
        shutil.rmtree(temporary(final, kind), ignore_errors=True)
    temporary(final, PACKING).unlink(missing_ok=True)


def finish(final: Path) -> None:
    """Rename a store to its final name if its writer was killed after sealing it.

    The caller holds the lock of the store's key.
    """
    if final.exists():
        return
    for kind in (BUILDING, PACKING):
        candidate = temporary(final, kind)
        if candidate.is_symlink():
            continue
        try:
            read_attributes(candidate)
        except (FeatstoreError, OSError):
            continue
        for other in (UNITS, BUILDING):
            if other != kind:
                shutil.rmtree(temporary(final, other), ignore_errors=True)
        candidate.rename(final)
        sync(final.parent)
        return


def take_place(new: Path, final: Path) -> None:
    """Rename a sealed store to its final name; supersede a store that already has it."""
    if os.path.lexists(final):
        old = temporary(final, SUPERSEDED)
        delete(old)
        if exchange(new, final):  # the name always has a store
            new.replace(old)
        else:
            final.replace(old)
            new.rename(final)
    else:
        new.rename(final)
    sync(final.parent)


def exchange(one: Path, other: Path) -> bool:
    """Swap two names atomically if the system can (Linux); tell whether it did."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    here, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    done: int = renameat2(here, os.fsencode(one), here, os.fsencode(other), flag)
    return done == 0
