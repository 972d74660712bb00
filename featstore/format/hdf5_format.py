"""Read a store from one HDF5 file.

The file begins with a user block, which HDF5 ignores. It holds the text of a Zarr store's root
``zarr.json``, so reading attributes and seal does not need the HDF5 library. Chunks of features
are uncompressed and aligned to pages, so they can be mapped like those of a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from featstore.errors import CorruptStoreError, FeatstoreError
from featstore.format import schema
from featstore.format.codecs import DTYPES, Codec
from featstore.format.container import Damage, chunk_name, not_found
from featstore.format.maps import Piece, can_map
from featstore.format.seal import MOST_ROOT, REMEDY, check_seal, sha256
from featstore.format.validate import check_attributes, check_columns, check_shape, names_array
from featstore.json_text import parse_object

if TYPE_CHECKING:
    import h5py


# Readable by HDF5 1.10; fixed, so that the bytes do not depend on the library's version.
LIBRARY = ("v110", "v110")
READ_BYTES = 2**20
PAGE = 4096  # bytes; alignment of the user block's end and of chunks
STRING_SIZE = 16  # bytes of a reference to a text of variable length
SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Hdf5Container:
    """Read an HDF5 store; see `featstore.format.container.Container`."""

    def __init__(self, location: Path) -> None:
        self.location = location
        self.attributes, self._block = _read_block(location)
        self._seal: dict[str, Any] = self.attributes["seal"]
        if not _is_sealed_hdf5(self._seal):
            raise CorruptStoreError(f"{location}: its seal is not that of an HDF5 store; {REMEDY}.")

    @property
    def codec(self) -> Codec:
        """The dtype of the features."""
        return Codec(self._seal["dtype"])

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """The rows and dim of a chunk."""
        rows, dim = self._seal["chunk"]
        return rows, dim

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return all arrays except features; compare everything except features with the seal."""
        if _rest(self.location, self._block, self._extents) != self._seal["rest"]:
            raise CorruptStoreError(
                f"{self.location} was changed after the store was sealed; {REMEDY}."
            )
        where = str(self.location)
        with self._open() as file:
            try:
                columns = {name: _column(file, name, where) for name in schema.ARRAYS}
                steps = int(file[schema.FEATURES].shape[0])
            except (
                KeyError,
                OSError,
                RuntimeError,
                AttributeError,
                TypeError,
                ValueError,
            ) as error:
                if isinstance(error, CorruptStoreError):
                    raise
                raise self._unreadable(error) from None
        check_columns(columns, steps, where)
        check_shape(self.attributes, (steps, self.chunk_shape[1]), where)
        return columns

    def chunk_bytes(self, number: int) -> bytes:
        """Return the stored bytes of a chunk of features."""
        return read_piece(self._extents[number])

    def pieces(self) -> list[Piece] | None:
        """Return the chunks as ranges of the file."""
        return self._extents if can_map(self._extents) else None

    def damages(self) -> Iterator[Damage]:
        """Yield every chunk that disagrees with the seal, and the rest of the file if it does."""
        try:
            extents = self._extents
        except CorruptStoreError as error:
            yield Damage("the file", f"cannot be read ({error})", None)
            return
        for number, _ in enumerate(extents):
            if sha256(self.chunk_bytes(number)) != self._seal["files"][chunk_name(number)]:
                yield Damage(f"chunk {number} of the features", "was changed", number)
        if _rest(self.location, self._block, extents) != self._seal["rest"]:
            yield Damage("the file outside of the features", "was changed", None)

    @cached_property
    def _extents(self) -> list[Piece]:
        """Return the range of every chunk in the file, in row order."""
        with self._open() as file:
            try:
                dataset = _dataset(file, schema.FEATURES)
                rows, dim = self.chunk_shape
                _check_features(dataset, rows, dim, self.codec, len(self._seal["files"]))
                chunks = [
                    dataset.id.get_chunk_info_by_coord((number * rows, 0))
                    for number in range(len(self._seal["files"]))
                ]
            except (
                KeyError,
                OSError,
                RuntimeError,
                AttributeError,
                TypeError,
                ValueError,
            ) as error:
                raise self._unreadable(error) from None
        length = rows * dim * self.codec.item_size
        pieces = [Piece(self.location, info.byte_offset, length) for info in chunks]
        if any(info.byte_offset is None or info.size != length for info in chunks):
            raise self._unreadable("a chunk is missing")
        return pieces

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        import h5py

        # A sealed file does not change, so no lock is needed. A stream avoids HDF5's refusal to
        # open a path unlocked if the same process has it open locked, for example in xarray.
        with self.location.open("rb") as stream:
            try:
                file = h5py.File(stream, "r")
            except OSError as error:
                raise self._unreadable(error) from None
            with file:
                yield file

    def _unreadable(self, why: object) -> CorruptStoreError:
        return CorruptStoreError(f"{self.location} cannot be read as HDF5 ({why}); {REMEDY}.")


def _read_block(location: Path) -> tuple[dict[str, Any], int]:
    """Return the attributes in a file's user block, and the block's length."""
    try:
        with location.open("rb") as stream:
            size = _block_size(stream)
            stream.seek(0)
            block = stream.read(size)
    except FileNotFoundError:
        raise not_found(location) from None
    # `pack` leaves zeros there until the rest of the file is synced.
    if not block.strip(b"\0"):
        raise not_found(f"{location}, which has no featstore user block")
    try:
        attributes = parse_object(block)
        check_seal(attributes, str(location))
        check_attributes(attributes, str(location))
    except FeatstoreError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptStoreError(
            f"The first {size} bytes of {location} are not the metadata of a store ({error}); "
            f"{REMEDY}."
        ) from None
    if block != _block_text(attributes, size):
        raise CorruptStoreError(f"{location}: its user block was changed; {REMEDY}.")
    return attributes, size


def _block_size(stream: BinaryIO) -> int:
    """Return the length of the user block, or 0; reads a few bytes at each power of two."""
    size = PAGE
    while size <= MOST_ROOT:
        stream.seek(size)
        signature = stream.read(len(SIGNATURE))
        if signature == SIGNATURE:
            return size
        if len(signature) < len(SIGNATURE):  # the end of the file
            return 0
        size *= 2
    return 0


def _is_sealed_hdf5(seal: Mapping[str, Any]) -> bool:
    files, shape = seal["files"], seal.get("chunk")
    return (
        seal.get("dtype") in DTYPES
        and isinstance(shape, list)
        and len(shape) == 2
        and all(type(size) is int and size > 0 for size in shape)
        and all(chunk_name(number) in files for number in range(len(files)))
    )


def read_piece(piece: Piece) -> bytes:
    """Return the bytes of a range of a file."""
    with piece.path.open("rb") as stream:
        stream.seek(piece.offset)
        return stream.read(piece.length)


def _block_text(attributes: Mapping[str, Any], size: int) -> bytes:
    return json.dumps(attributes, indent=1).encode().ljust(size - 1) + b"\n"


def _rest(location: Path, block: int, extents: list[Piece]) -> str:
    """Return the SHA-256 of everything except the user block and the features."""
    digest = hashlib.sha256()
    with location.open("rb") as stream:
        position = block
        for piece in [*sorted(extents), Piece(location, os.fstat(stream.fileno()).st_size, 0)]:
            stream.seek(position)
            left = piece.offset - position
            while left > 0 and (content := stream.read(min(left, READ_BYTES))):
                digest.update(content)
                left -= len(content)
            position = piece.offset + piece.length
    return digest.hexdigest()


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset stored in this file, so that the seal covers its numbers.

    Raises
    ------
    ValueError
        If it is missing, a link, virtual, or has external storage.
    """
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is missing or a link")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise ValueError(f"{name} is not a dataset")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} is stored in another file")
    return dataset


def _check_features(dataset: h5py.Dataset, rows: int, dim: int, codec: Codec, chunks: int) -> None:
    """Check that the features are uncompressed and match the seal."""
    dtype = np.dtype(codec.dtype).newbyteorder("<")
    steps = dataset.shape[0]
    is_same = dataset.chunks == (rows, dim) and dataset.shape == (steps, dim)
    filters = dataset.id.get_create_plist().get_nfilters()
    if not is_same or dataset.dtype != dtype or -(-steps // rows) != chunks or filters:
        raise ValueError(f"{dataset.name} does not match the seal")


def _column(file: h5py.File, name: str, where: str) -> NDArray[Any]:
    dataset = _dataset(file, name)
    is_string = schema.ARRAYS[name][0] == "string"
    size = dataset.size * (STRING_SIZE if is_string else dataset.dtype.itemsize)
    # Must be contiguous; otherwise the dataset could be larger than the file.
    if dataset.chunks is not None or dataset.id.get_storage_size() != size or dataset.ndim != 1:
        raise ValueError(f"{name} is not stored in one piece")
    values = dataset[...]
    if not is_string:
        return np.asarray(values)
    return names_array([value.decode() for value in values], name, where)
