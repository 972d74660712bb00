"""What there is of a store that is being written: its files, its plan, and its finished units."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.format.codecs import Codec, stored_chunk
from featstore.format.container import chunk_name
from featstore.format.files import Bucket, Files, Folder, is_remote
from featstore.format.seal import sha256
from featstore.json_text import parse_object
from featstore.keys import canonical_json
from featstore.writing.unfinished import BUILDING, PLAN, UNITS, discard, refuse_links, temporary

FAILED = "failed"
NUMERICS, MIXED = "numerics", "mixed_numerics"
RUN = "run"  # names the one process that may write, to others that write for it


class Beginnings:
    """The place of an unfinished store, on the local disk or in a bucket.

    A bucket has no renaming. There the files have their final names, and it is the root metadata,
    written last, that makes a store of them.

    Parameters
    ----------
    final : Path or str
        Where the sealed store goes.

    Attributes
    ----------
    files : Folder or Bucket
        The store's files.
    commits : Folder or Bucket
        The plan, and N.json for every unit N that is written.
    """

    def __init__(self, final: Path | str) -> None:
        self._final = final
        self.files: Folder | Bucket
        self.commits: Folder | Bucket
        if is_remote(final):
            root, _, name = str(final).rpartition("/")
            self.files, self.commits = Bucket(str(final)), Bucket(f"{root}/.{name}{UNITS}")
        else:
            self.files = Folder(temporary(Path(final), BUILDING))
            self.commits = Folder(temporary(Path(final), UNITS))
            refuse_links(Path(final))

    def plan(self) -> dict[str, Any] | None:
        """Return what the store was to be, if that is known."""
        try:
            plan = parse_object(self.commits.read(PLAN))
        except (FileNotFoundError, ValueError):
            return None
        return plan if _is_plan(plan) else None

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        """Write down what the store is to be."""
        self.make()
        self.commits.write(PLAN, canonical_json(plan).encode())

    def make(self) -> None:
        """Make the folders, of which a bucket has none."""
        for files in (self.files, self.commits):
            if isinstance(files, Folder):
                files.make()

    def take_over(self) -> str:
        """Become the one process that may write, and return the name that others check."""
        self.make()
        run = os.urandom(16).hex()
        self.commits.write(RUN, run.encode())
        return run

    def keep(self, unit: int, commit: Mapping[str, Any]) -> None:
        """Write down that a unit is whole."""
        self.commits.write(f"{unit}.json", json.dumps(commit).encode())

    def found(self, units: int) -> dict[int, dict[str, Any]]:
        """Return the units that are whole, and what is known of each.

        On the local disk each is compared with its checksum. A bucket holds objects whole or not
        at all, so there they are only listed.
        """
        found = {}
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
            # What failed once may have been the disk's or the network's fault.
            if whole and not commit.get(FAILED):
                found[unit] = commit
        return found

    def remove_others(self, expected: set[str]) -> None:
        """Remove files that a writer that was killed left half written, and its root metadata."""
        for name in set(self.files.names()) - expected:
            self.files.remove(name)

    def discard(self) -> None:
        """Remove everything."""
        if not is_remote(self._final):
            discard(Path(self._final))
            return
        for own in (self.commits, self.files):
            for name in list(own.names()):
                own.remove(name)

    def forget_units(self) -> None:
        """Remove what is known of units, of a store that is sealed."""
        for name in list(self.commits.names()):
            self.commits.remove(name)


def forget_units(url: str) -> None:
    """Remove what a writer of a sealed store in a bucket was stopped before it could remove."""
    Beginnings(url).forget_units()


def _is_plan(plan: Mapping[str, Any]) -> bool:
    """Tell whether a file has what a writer compares; whoever edited it loses the units."""
    attributes = plan.get("attributes")
    return (
        isinstance(attributes, dict)
        and isinstance(attributes.get(NUMERICS, {}), dict)
        and isinstance(attributes.get(MIXED, []), list)
    )


def write_unit(
    files: Files, unit: int, rows: NDArray[np.float32], chunk_rows: int, codec: Codec
) -> dict[str, Any]:
    """Write the chunk of one unit, in any process; `StoreWriter.commit` makes it count.

    Parameters
    ----------
    files : Files
        `Beginnings.files`, or the same place seen from another process.
    unit : int
    rows : ndarray of float32, shape (rows, dim)
    chunk_rows : int
        Rows in a whole chunk.
    codec : Codec

    Returns
    -------
    dict
        The checksum, and of float16 the errors.

    Raises
    ------
    InputError
        If a value does not fit into float16.
    """
    chunk, known = stored_chunk(rows, chunk_rows, codec)
    content = codec.encode(chunk)
    files.write(chunk_name(unit), content)
    return {**known, "sha256": sha256(content)}
