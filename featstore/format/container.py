"""The interface of a sealed store's format, for Zarr and HDF5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from featstore.errors import StoreNotFoundError
from featstore.format.codecs import Codec
from featstore.format.files import ZIP_SUFFIX
from featstore.format.maps import Piece

ZARR_SUFFIX, HDF5_SUFFIX = ".zarr", ".h5"
FORMATS = {ZARR_SUFFIX: "zarr", HDF5_SUFFIX: "hdf5", f"{ZARR_SUFFIX}{ZIP_SUFFIX}": "zip"}
SUFFIXES = tuple(FORMATS)


class Damage(NamedTuple):
    """A part of a store that disagrees with the seal.

    Attributes
    ----------
    name : str
        The file, or the part of the file.
    what : str
        ``is missing``, ``was changed``, ``was added`` or another description.
    chunk : int or None
        The number of the chunk of features; None for other parts.
    foreign : bool
        Whether it is an extra file; the store is complete without it.
    """

    name: str
    what: str
    chunk: int | None
    foreign: bool = False


class Container(Protocol):
    """A sealed store in one format, at one location."""

    attributes: dict[str, Any]
    """Root attributes, which agree with the seal."""

    @property
    def location(self) -> Path | str:
        """A path, or a URL."""

    @property
    def codec(self) -> Codec:
        """The codec of stored features."""

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """The rows and dim of a chunk of features."""

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return all arrays except features; compare them with the seal.

        Raises
        ------
        CorruptStoreError
        """

    def chunk_bytes(self, number: int) -> bytes:
        """Return the stored bytes of a chunk of features.

        Raises
        ------
        CorruptStoreError
            If it is missing.
        """

    def pieces(self) -> list[Piece] | None:
        """Return the chunks as ranges of local files; None if they are compressed or remote."""

    def damages(self) -> Iterator[Damage]:
        """Yield every part that disagrees with the seal."""


def chunk_name(number: int) -> str:
    """Return the file name of a chunk in a Zarr store; every seal uses it."""
    return f"features/c/{number}/0"


def suffix_of(location: Path | str) -> str | None:
    """Return the one of `SUFFIXES` that a path or URL ends in, if any."""
    name = str(location).rstrip("/")
    return next((suffix for suffix in reversed(SUFFIXES) if name.endswith(suffix)), None)


def not_found(location: Path | str) -> StoreNotFoundError:
    """Return the error for a path or URL without a store."""
    return StoreNotFoundError(
        f"There is no store at {location}; `featstore ls` lists the stores that are there."
    )
