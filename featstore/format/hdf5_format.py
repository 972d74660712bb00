"""A store as one HDF5 file.

The file begins with a user block, which HDF5 passes over: there stands, as text, what the root
``zarr.json`` of a Zarr store holds. So attributes and seal are read without the HDF5 library.
Chunks of features are uncompressed and begin on pages of the file, so they are mapped like those of
a folder.
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


# What HDF5 1.10 reads; fixed, so that the bytes do not depend on the library.
LIBRARY = ("v110", "v110")
READ_BYTES = 2**20
PAGE = 4096  # of the file: where the user block ends and chunks begin
STRING_SIZE = 16  # of a reference to a text of any length
SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Hdf5Container:
    """Reads an HDF5 store; see `featstore.format.container.Container`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.attributes, self._block = _read_block(place)
        self._seal: dict[str, Any] = self.attributes["seal"]
        if not _is_sealed_hdf5(self._seal):
            raise CorruptStoreError(f"{place}: its seal is not that of an HDF5 store; {REMEDY}.")

    @property
    def codec(self) -> Codec:
        """The dtype of the features."""
        return Codec(self._seal["dtype"])

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """Rows and dim of a chunk."""
        rows, dim = self._seal["chunk"]
        return rows, dim

    def columns(self) -> dict[str, NDArray[Any]]:
        """Read every array but the features, comparing all but those with the seal."""
        if _rest(self.place, self._block, self._extents) != self._seal["rest"]:
            raise CorruptStoreError(
                f"{self.place} was changed after the store was sealed; {REMEDY}."
            )
        where = str(self.place)
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
        """Return a chunk of features as it is stored."""
        return read_piece(self._extents[number])

    def pieces(self) -> list[Piece] | None:
        """Return where the chunks lie."""
        return self._extents if can_map(self._extents) else None

    def damages(self) -> Iterator[Damage]:
        """Compare every chunk and the rest of the file with the seal."""
        try:
            extents = self._extents
        except CorruptStoreError as error:
            yield Damage("the file", f"cannot be read ({error})", None)
            return
        for number, _ in enumerate(extents):
            if sha256(self.chunk_bytes(number)) != self._seal["files"][chunk_name(number)]:
                yield Damage(f"chunk {number} of the features", "was changed", number)
        if _rest(self.place, self._block, extents) != self._seal["rest"]:
            yield Damage("the file outside of the features", "was changed", None)

    @cached_property
    def _extents(self) -> list[Piece]:
        """Return the place of every chunk in the file, in the order of the rows."""
        with self._open() as file:
            try:
                dataset = _dataset(file, schema.FEATURES)
                rows, dim = self.chunk_shape
                _check_features(dataset, rows, dim, self.codec, len(self._seal["files"]))
                places = [
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
        pieces = [Piece(self.place, info.byte_offset, length) for info in places]
        if any(info.byte_offset is None or info.size != length for info in places):
            raise self._unreadable("a chunk is missing")
        return pieces

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        import h5py

        # A sealed file does not change, so it is read without a lock. As a stream: HDF5 refuses to
        # open a path without a lock that is open with one in the same process, by xarray perhaps.
        with self.place.open("rb") as stream:
            try:
                file = h5py.File(stream, "r")
            except OSError as error:
                raise self._unreadable(error) from None
            with file:
                yield file

    def _unreadable(self, why: object) -> CorruptStoreError:
        return CorruptStoreError(f"{self.place} cannot be read as HDF5 ({why}); {REMEDY}.")


def _read_block(place: Path) -> tuple[dict[str, Any], int]:
    """Return the attributes in a file's user block, and the length of the block."""
    try:
        with place.open("rb") as stream:
            size = _block_size(stream)
            stream.seek(0)
            block = stream.read(size)
    except FileNotFoundError:
        raise not_found(place) from None
    # Zeros are what `pack` leaves there until the rest of the file lasts.
    if not block.strip(b"\0"):
        raise not_found(f"{place}, which has no user block of a featstore HDF5 file")
    try:
        attributes = parse_object(block)
        check_seal(attributes, str(place))
        check_attributes(attributes, str(place))
    except FeatstoreError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptStoreError(
            f"The first {size} bytes of {place} are not the metadata of a store ({error}); "
            f"{REMEDY}."
        ) from None
    if block != _block_text(attributes, size):
        raise CorruptStoreError(f"{place}: its user block was changed; {REMEDY}.")
    return attributes, size


def _block_size(stream: BinaryIO) -> int:
    """Return the length of the user block, 0 if there is none; reads a few bytes for each power."""
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


def _rest(place: Path, block: int, extents: list[Piece]) -> str:
    """Return the SHA-256 of what is neither user block nor features."""
    digest = hashlib.sha256()
    with place.open("rb") as stream:
        position = block
        for piece in [*sorted(extents), Piece(place, os.fstat(stream.fileno()).st_size, 0)]:
            stream.seek(position)
            left = piece.offset - position
            while left > 0 and (content := stream.read(min(left, READ_BYTES))):
                digest.update(content)
                left -= len(content)
            position = piece.offset + piece.length
    return digest.hexdigest()


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset whose numbers lie in this file, where the seal has checksums of them.

    Raises
    ------
    ValueError
        If it is a link, a virtual dataset, or one with external storage.
    """
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is missing or a link")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise ValueError(f"{name} is no dataset")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} lies in another file")
    return dataset


def _check_features(dataset: h5py.Dataset, rows: int, dim: int, codec: Codec, chunks: int) -> None:
    """Check that the features are as the seal says, uncompressed."""
    dtype = np.dtype(codec.dtype).newbyteorder("<")
    steps = dataset.shape[0]
    is_same = dataset.chunks == (rows, dim) and dataset.shape == (steps, dim)
    filters = dataset.id.get_create_plist().get_nfilters()
    if not is_same or dataset.dtype != dtype or -(-steps // rows) != chunks or filters:
        raise ValueError(f"{dataset.name} is not what the seal says")


def _column(file: h5py.File, name: str, where: str) -> NDArray[Any]:
    dataset = _dataset(file, name)
    is_string = schema.ARRAYS[name][0] == "string"
    size = dataset.size * (STRING_SIZE if is_string else dataset.dtype.itemsize)
    # Stored in one piece, else the dataset could be larger than the file.
    if dataset.chunks is not None or dataset.id.get_storage_size() != size or dataset.ndim != 1:
        raise ValueError(f"{name} is not stored in one piece")
    values = dataset[...]
    if not is_string:
        return np.asarray(values)
    return names_array([value.decode() for value in values], name, where)
