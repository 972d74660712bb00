"""The staging area of an unfinished store, and how it becomes a store or is removed."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import FeatstoreError, InputError
from featstore.format.codecs import Codec, stored_chunk
from featstore.format.container import chunk_name
from featstore.format.files import Bucket, Files, Folder, delete, sync
from featstore.format.opening import read_attributes
from featstore.format.seal import sha256
from featstore.json_text import parse_object
from featstore.keys import canonical_json

BUILDING, UNITS, SUPERSEDED, PACKING = ".building", ".units", ".superseded", ".packing"
PLAN = "plan.json"
FAILED = "failed"
NUMERICS, MIXED = "numerics", "mixed_numerics"
RUN = "run"  # holds the token of the process that may write; its workers check it


class Staging:
    """The staging area of an unfinished store, on the local disk or in a bucket.

    A bucket cannot rename. There, files have their final names, and the root metadata are written
    last and complete the store.

    Parameters
    ----------
    final : Path or str
        Path or URL of the sealed store.

    Attributes
    ----------
    files : Folder or Bucket
        The store's files.
    commits : Folder or Bucket
        The plan, and N.json for every written unit N.
    """

    def __init__(self, final: Path | str) -> None:
        self._final = final
        self.files: Folder | Bucket
        self.commits: Folder | Bucket
        if isinstance(final, Path):
            self.files = Folder(temporary(final, BUILDING))
            self.commits = Folder(temporary(final, UNITS))
            _refuse_links(final)
        else:
            root, _, name = final.rpartition("/")
            self.files, self.commits = Bucket(final), Bucket(f"{root}/.{name}{UNITS}")

    def plan(self) -> dict[str, Any] | None:
        """Return the stored plan, or None if there is none."""
        try:
            plan = parse_object(self.commits.read(PLAN))
        except (FileNotFoundError, ValueError):
            return None
        return plan if _is_plan(plan) else None

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        """Store the plan."""
        self.make()
        self.commits.write(PLAN, canonical_json(plan).encode())

    def make(self) -> None:
        """Create the folders; a bucket needs none."""
        for files in (self.files, self.commits):
            if isinstance(files, Folder):
                files.make()

    def take_over(self) -> str:
        """Become the only process that may write, and return the token that workers check."""
        self.make()
        run = os.urandom(16).hex()
        self.commits.write(RUN, run.encode())
        return run

    def keep(self, unit: int, commit: Mapping[str, Any]) -> None:
        """Record that a unit is complete."""
        self.commits.write(f"{unit}.json", json.dumps(commit).encode())

    def complete(self, units: int) -> dict[int, dict[str, Any]]:
        """Return the complete units and their commits.

        On the local disk, every chunk is compared with its checksum. A bucket writes objects
        atomically, so there they are only listed.
        """
        commits = {}
        listed = set(self.files.names())
        for unit in range(units):
            try:
                commit = parse_object(self.commits.read(f"{unit}.json"))
                whole = chunk_name(unit) in listed and (
                    isinstance(self.files, Bucket)
                    or sha256(self.files.read(chunk_name(unit))) == commit.get("sha256")
                )
            except (OSError, ValueError):
                continue
            # Retry failed units: the disk or the network may have been the cause.
            if whole and not commit.get(FAILED):
                commits[unit] = commit
        return commits

    def remove_others(self, expected: set[str]) -> None:
        """Remove the partial files and root metadata of a killed writer."""
        for name in set(self.files.names()) - expected:
            self.files.remove(name)

    def discard(self) -> None:
        """Remove everything."""
        if isinstance(self._final, Path):
            _discard(self._final)
            return
        for files in (self.commits, self.files):
            for name in list(files.names()):
                files.remove(name)

    def forget_units(self) -> None:
        """Remove the plan and the commits of a sealed store."""
        for name in list(self.commits.names()):
            self.commits.remove(name)


def forget_units(url: str) -> None:
    """Remove the plan and commits that an interrupted writer left next to a sealed bucket store."""
    Staging(url).forget_units()


def _is_plan(plan: Mapping[str, Any]) -> bool:
    """Tell whether a plan has all fields; an edited plan loses the finished units."""
    attributes = plan.get("attributes")
    return (
        isinstance(attributes, dict)
        and isinstance(attributes.get(NUMERICS, {}), dict)
        and isinstance(attributes.get(MIXED, []), list)
    )


def write_unit(
    files: Files, unit: int, rows: NDArray[np.float32], chunk_rows: int, codec: Codec
) -> dict[str, Any]:
    """Write the chunk of one unit, in any process; `StoreWriter.commit` records it.

    Parameters
    ----------
    files : Files
        `Staging.files`, or the same files opened in another process.
    unit : int
    rows : ndarray of float32, shape (rows, dim)
    chunk_rows : int
        Rows in a full chunk.
    codec : Codec

    Returns
    -------
    dict
        The checksum; for float16, also the rounding errors.

    Raises
    ------
    InputError
        If a value does not fit into float16.
    """
    chunk, errors = stored_chunk(rows, chunk_rows, codec)
    content = codec.encode(chunk)
    files.write(chunk_name(unit), content)
    return {**errors, "sha256": sha256(content)}


def temporary(final: Path, kind: str) -> Path:
    """Return the path of a temporary file or folder next to a store."""
    return final.with_name(f".{final.name}{kind}")


def _refuse_links(final: Path) -> None:
    """Refuse links at a writer's temporary folders: they could lead anywhere.

    Raises
    ------
    InputError
    """
    for kind in (BUILDING, UNITS):
        if (path := temporary(final, kind)).is_symlink():
            raise InputError(f"{path} is a link, but a build needs a folder there; remove it.")


def _discard(final: Path) -> None:
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
