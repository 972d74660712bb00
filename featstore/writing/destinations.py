"""Where a store can go: which format a name asks for, and how features are written there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from featstore.errors import InputError
from featstore.format.container import FORMATS, SUFFIXES, ZARR_SUFFIX, suffix_of
from featstore.format.files import is_remote
from featstore.text import human_size

# The formats that are written; an archive is made by an export.
SUFFIX_OF = {form: suffix for suffix, form in FORMATS.items() if form != "zip"}

NPY: Final = "npy"
DESTINATIONS: Final = {**FORMATS, "": NPY}


def format_of(dest: Path | str, wanted: str | None = None) -> str:
    """Return the format that the suffix of a destination says: zarr, hdf5, zip or npy.

    Parameters
    ----------
    dest : Path or str
        A path, or a URL.
    wanted : str, optional
        What the user says; decides only whether an odd suffix is that of a folder of ``.npy``.

    Raises
    ------
    InputError
        If the suffix says nothing, or another thing than `wanted`.
    """
    suffix = suffix_of(dest)
    name = str(dest).rstrip("/").rpartition("/")[2]
    if suffix is None and (wanted == NPY or (wanted is None and not Path(name).suffix)):
        suffix = ""
    if suffix is None or wanted not in (None, DESTINATIONS[suffix]):
        raise InputError(_misnamed(name, suffix, wanted))
    if is_remote(dest) and suffix != ZARR_SUFFIX:
        raise InputError(
            f"{dest} is no Zarr store, the only format that is written to a URL; let it end in "
            f"{ZARR_SUFFIX}, or export to a local path."
        )
    if str(dest).startswith("file:"):
        raise InputError(f"{dest} is a local place; give the path without file://.")
    return DESTINATIONS[suffix]


def _misnamed(name: str, suffix: str | None, wanted: str | None) -> str:
    """Return what is wrong with the name of a destination."""
    known = ", ".join(SUFFIXES)
    if wanted is None:
        return (
            f"{name} ends in the suffix of no format ({known}; a folder of .npy files has none); "
            "name it otherwise, or give --format npy for such a folder."
        )
    own = next(own for own, form in DESTINATIONS.items() if form == wanted)
    stem = name.removesuffix(suffix or "")
    return f"--format is {wanted}, and {name} ends otherwise; name it {stem}{own}."


def check_room(root: Path, needed: int) -> None:
    """Refuse to begin where the disk has not so many bytes free.

    Raises
    ------
    InputError
    """
    free = shutil.disk_usage(root).free
    if needed > free:
        raise InputError(
            f"The store needs {human_size(needed)}, and {root} has {human_size(free)} free; make "
            "room, or give another folder with --store."
        )


def store_bytes(steps: int, dim: int, item_size: int = 4) -> int:
    """Return about how many bytes a store takes uncompressed: features, frames and times."""
    return steps * (item_size * dim + 16) + 2**20
