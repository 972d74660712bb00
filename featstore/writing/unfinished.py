"""What an unfinished store leaves beside its final name, and what becomes of it."""

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
    """Return the path of what stands beside a store for a while."""
    return final.with_name(f".{final.name}{kind}")


def refuse_links(final: Path) -> None:
    """Refuse links where a writer makes folders: what it writes or removes could be anywhere.

    Raises
    ------
    InputError
    """
    for kind in (BUILDING, UNITS):
        if (path := temporary(final, kind)).is_symlink():
            raise InputError(f"{path} is a link, and a build makes a folder there; remove it.")


def discard(final: Path) -> None:
    """Remove what an unfinished writer left."""
    # The plan and the root go first: without them, nothing goes on from what is left.
    (temporary(final, UNITS) / PLAN).unlink(missing_ok=True)
    (temporary(final, BUILDING) / "zarr.json").unlink(missing_ok=True)
    for kind in (UNITS, BUILDING):
        shutil.rmtree(temporary(final, kind), ignore_errors=True)
    temporary(final, PACKING).unlink(missing_ok=True)


def finish(final: Path) -> None:
    """Give a store its name that a writer sealed before it was killed.

    Whoever calls this holds the lock of the store's key.
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
    """Give a sealed store its name; one that has it already is superseded."""
    if os.path.lexists(final):
        old = temporary(final, SUPERSEDED)
        delete(old)
        if exchange(new, final):  # the name is never without a store
            new.replace(old)
        else:
            final.replace(old)
            new.rename(final)
    else:
        new.rename(final)
    sync(final.parent)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once, where the system can (Linux); tell whether it did."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    here, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    done: int = renameat2(here, os.fsencode(one), here, os.fsencode(other), flag)
    return done == 0
