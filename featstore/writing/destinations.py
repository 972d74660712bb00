"""Choose the format of a destination from its name, and check for disk space."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from featstore.errors import InputError
from featstore.format.container import FORMATS, SUFFIXES, ZARR_SUFFIX, suffix_of
from featstore.format.files import is_remote
from featstore.text import human_size

# The formats that builds write; only an export makes an archive.
SUFFIX_OF = {form: suffix for suffix, form in FORMATS.items() if form != "zip"}

NPY: Final = "npy"
DESTINATIONS: Final = {**FORMATS, "": NPY}


def format_of(dest: Path | str, requested: str | None = None) -> str:
    """Return the format of a destination from its suffix: zarr, hdf5, zip or npy.

    Parameters
    ----------
    dest : Path or str
        A path, or a URL.
    requested : str, optional
        The user's choice. It only decides whether an unknown suffix names a ``.npy`` folder.

    Raises
    ------
    InputError
        If the suffix is unknown, or contradicts `requested`.
    """
    suffix = suffix_of(dest)
    name = str(dest).rstrip("/").rpartition("/")[2]
    if suffix is None and (requested == NPY or (requested is None and not Path(name).suffix)):
        suffix = ""
    if suffix is None or requested not in (None, DESTINATIONS[suffix]):
        raise InputError(_misnamed(name, suffix, requested))
    if is_remote(dest) and suffix != ZARR_SUFFIX:
        raise InputError(
            f"{dest} is not a Zarr store, the only format for a URL; name it *{ZARR_SUFFIX}, or "
            "export to a local path."
        )
    if str(dest).startswith("file:"):
        raise InputError(f"{dest} is a local path; pass it without file://.")
    return DESTINATIONS[suffix]


def _misnamed(name: str, suffix: str | None, requested: str | None) -> str:
    """Return the error message for the name of a destination."""
    suffixes = ", ".join(SUFFIXES)
    if requested is None:
        return (
            f"{name} has an unknown suffix; use {suffixes}, or pass --format npy for a folder of "
            ".npy files."
        )
    expected = next(expected for expected, form in DESTINATIONS.items() if form == requested)
    stem = name.removesuffix(suffix or "")
    return f"--format is {requested}, but {name} has another suffix; name it {stem}{expected}."


def check_room(root: Path, needed: int) -> None:
    """Check that the disk has `needed` bytes free.

    Raises
    ------
    InputError
    """
    free = shutil.disk_usage(root).free
    if needed > free:
        raise InputError(
            f"The store needs {human_size(needed)}, but {root} has {human_size(free)} free; free "
            "space, or pass another folder with --stores."
        )


def store_bytes(steps: int, dim: int, item_size: int = 4) -> int:
    """Return the approximate uncompressed bytes of a store: features, frames and times."""
    return steps * (item_size * dim + 16) + 2**20
