"""Where a store can go: which format a name asks for, and how features are written there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from featstore.errors import InputError
from featstore.format.codecs import Codec
from featstore.format.container import FORMATS, SUFFIXES, ZARR_SUFFIX, suffix_of
from featstore.format.files import is_remote
from featstore.reading.store import Store

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


def codec_for(store: Store, form: str, dtype: str | None, compression: str | None) -> Codec:
    """Return how a store's features are to be written; what is not said stays as it is.

    Raises
    ------
    InputError
        If float16 features are to become float32, or the format has no compression.
    """
    own = store.container.codec
    if own.dtype == "float16" and dtype == "float32":
        raise InputError(
            f"{store.path} holds float16, and the precision that float32 had is gone; build it "
            "with --dtype float32, or leave --dtype out (readers get float32 by astype)."
        )
    plain = form in ("hdf5", NPY)
    if plain and compression not in (None, "none"):
        why = "few readers have HDF5's plugins" if form == "hdf5" else "every .npy is plain"
        raise InputError(
            f"--compression is {compression}, and {form} is written uncompressed, because {why}; "
            "export to .zarr or .zarr.zip, or leave compression out."
        )
    return Codec(dtype or own.dtype, "none" if plain else compression or own.compression)
