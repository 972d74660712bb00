"""What a store's format has to offer its reader: one interface for Zarr and HDF5."""

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
        ``is missing``, ``was changed``, ``was added`` or what else is wrong.
    chunk : int or None
        The number of the features' chunk, if it is one.
    foreign : bool
        Whether it is a file that is no part of the store, which is whole without it.
    """

    name: str
    what: str
    chunk: int | None
    foreign: bool = False


class Container(Protocol):
    """A sealed store in one format, at one place."""

    attributes: dict[str, Any]
    """Root attributes, which agree with the seal."""

    @property
    def place(self) -> Path | str:
        """A path, or a URL."""

    @property
    def codec(self) -> Codec:
        """How features are stored."""

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """Rows and dim of a chunk of features."""

    def columns(self) -> dict[str, NDArray[Any]]:
        """Read every array but the features, comparing what is read with the seal.

        Raises
        ------
        CorruptStoreError
        """

    def chunk_bytes(self, number: int) -> bytes:
        """Return a chunk of features as it is stored.

        Raises
        ------
        CorruptStoreError
            If it is missing.
        """

    def pieces(self) -> list[Piece] | None:
        """Return where on the local disk the chunks lie uncompressed; None if they do not."""

    def damages(self) -> Iterator[Damage]:
        """Compare everything with the seal."""


def chunk_name(number: int) -> str:
    """Return the name of a chunk's file in a Zarr store, by which every seal lists it."""
    return f"features/c/{number}/0"


def suffix_of(place: Path | str) -> str | None:
    """Return which of `SUFFIXES` a place ends in, if any."""
    name = str(place).rstrip("/")
    return next((suffix for suffix in reversed(SUFFIXES) if name.endswith(suffix)), None)


def not_found(place: Path | str) -> StoreNotFoundError:
    """Return the error that says that a place holds no store."""
    return StoreNotFoundError(
        f"There is no store at {place}; `featstore ls` lists the stores that are there."
    )
