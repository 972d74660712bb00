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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore import schema
from featstore.codecs import Codec
from featstore.container import Damage, chunk_name, not_found
from featstore.errors import CorruptStoreError, FeatstoreError, InputError
from featstore.files import Folder, copy_into, sync
from featstore.maps import Piece, can_map
from featstore.seal import REMEDY, check_seal, sealed, sha256

if TYPE_CHECKING:
    import h5py

    from featstore.contents import Contents

# What HDF5 1.10 reads; fixed, so that the bytes do not depend on the library.
LIBRARY = ("v110", "v110")
READ_BYTES = 2**20
PAGE = 4096  # of the file: where the user block ends and chunks begin
SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Hdf5Container:
    """Reads an HDF5 store; see `featstore.container.Container`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.attributes, self._block = _read_block(place)
        self._seal: dict[str, Any] = self.attributes["seal"]

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
        with self._open() as file:
            return {name: _column(file, name) for name in schema.ARRAYS}

    def chunk_bytes(self, number: int) -> bytes:
        """Return a chunk of features as it is stored."""
        return _read(self._extents[number])

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
                dataset = file[schema.FEATURES]
                rows, dim = self.chunk_shape
                places = [
                    dataset.id.get_chunk_info_by_coord((number * rows, 0))
                    for number in range(len(self._seal["files"]))
                ]
            except (KeyError, OSError, RuntimeError, AttributeError, ValueError) as error:
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
            size = PAGE
            block = stream.read(size)
            while len(block) == size and stream.read(len(SIGNATURE)) != SIGNATURE:
                stream.seek(0)
                size *= 2
                block = stream.read(size)
    except FileNotFoundError:
        raise not_found(place) from None
    # Zeros are what `pack` leaves there until the rest of the file lasts.
    if len(block) < size or block.startswith(SIGNATURE) or not block.strip(b"\0"):
        raise not_found(f"{place}, which has no user block of a featstore HDF5 file")
    try:
        attributes = json.loads(block)
        check_seal(attributes, str(place))
    except FeatstoreError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptStoreError(
            f"The first {size} bytes of {place} are not the metadata of a store ({error}); "
            f"{REMEDY}."
        ) from None
    if block != _block_text(attributes, size):
        raise CorruptStoreError(f"{place}: its user block was changed; {REMEDY}.")
    return attributes, size


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


def _column(file: h5py.File, name: str) -> NDArray[Any]:
    values = file[name][...]
    if schema.ARRAYS[name][0] != "string":
        return np.asarray(values)
    return np.array([value.decode() for value in values], np.str_)


def pack(
    path: Path,
    files: Folder,
    contents: Contents,
    attributes: Mapping[str, Any],
    chunks: Mapping[str, str],
) -> None:
    """Write an HDF5 file from the chunks of a finished Zarr store; it lasts when this returns.

    Parameters
    ----------
    path : Path
        Where it goes; what is there is replaced.
    files : Folder
        Holds the chunks.
    contents : Contents
    attributes : mapping
        Root attributes without the seal.
    chunks : mapping of str to str
        Checksums of the chunks.
    """
    shape = [contents.layout.chunk_rows, contents.layout.dim]
    stored = {"dtype": contents.codec.dtype, "chunk": shape}
    blank = sealed(attributes, chunks, rest="0" * 64, **stored)
    size = PAGE
    while size < len(_block_text(blank, 0)):
        size *= 2
    path.unlink(missing_ok=True)
    extents = _write_hdf5(path, files, contents, attributes, size)
    _check_packed(extents, chunks)
    complete = sealed(attributes, chunks, rest=_rest(path, size, extents), **stored)
    sync(path)
    with path.open("r+b") as stream:  # last: without it, the file is no store
        stream.write(_block_text(complete, size))
    sync(path)


def _write_hdf5(
    path: Path, files: Folder, contents: Contents, attributes: Mapping[str, Any], block: int
) -> list[Piece]:
    import h5py

    layout, codec = contents.layout, contents.codec
    with h5py.File(
        path,
        "x",  # follows no link
        libver=LIBRARY,
        userblock_size=block,
        # Chunks begin on pages; what is smaller lies where it fits.
        alignment_threshold=PAGE,
        alignment_interval=PAGE,
    ) as file:
        file.attrs.update({name: _plain(value) for name, value in attributes.items()})
        scales = _Dimensions(file)
        for name, (dtype, dimension, own) in schema.ARRAYS.items():
            values = contents.columns[name]
            kind = h5py.string_dtype() if dtype == "string" else np.dtype(dtype).newbyteorder("<")
            stored = values.astype(object) if dtype == "string" else values
            dataset = file.create_dataset(name, data=stored, dtype=kind)
            dataset.attrs.update(own)
            scales.attach(dataset, [dimension])
        features = file.create_dataset(
            schema.FEATURES,
            shape=(layout.steps, layout.dim),
            chunks=(layout.chunk_rows, layout.dim),
            dtype=np.dtype(codec.dtype).newbyteorder("<"),
            fillvalue=np.nan,
            dcpl=_reserving(),
        )
        scales.attach(features, ["step", "feature"])
    with h5py.File(path, "r") as file:
        dataset = file[schema.FEATURES].id
        infos = [dataset.get_chunk_info_by_coord((first, 0)) for first, _ in layout.units()]
        pieces = [Piece(path, info.byte_offset, info.size) for info in infos]
    with path.open("r+b") as stream:
        for number, piece in enumerate(pieces):
            copy_into(stream, piece.offset, files.path / chunk_name(number))
    return pieces


def _check_packed(pieces: list[Piece], chunks: Mapping[str, str]) -> None:
    """Read the chunks that were packed and compare them: the seal is of what is on the disk."""
    for number, piece in enumerate(pieces):
        if sha256(_read(piece)) != chunks[chunk_name(number)]:
            raise InputError(
                f"{chunk_name(number)} was changed while {piece.path.name} was packed: something "
                "else writes files in its folder; run the same command again."
            )


def _read(piece: Piece) -> bytes:
    with piece.path.open("rb") as stream:
        stream.seek(piece.offset)
        return stream.read(piece.length)


def _reserving() -> Any:
    """Return the creation property that gives chunks their place in the file, and no content."""
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return properties


class _Dimensions:
    """Names dimensions as netCDF-4 does, so that xarray finds them."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file

    def attach(self, dataset: h5py.Dataset, names: list[str]) -> None:
        for axis, name in enumerate(names):
            size = dataset.shape[axis]
            if name not in self._file:
                scale = self._file.create_dataset(name, shape=(size,), dtype=">f4")
                scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{size:10d}")
            dataset.dims[axis].attach_scale(self._file[name])


def _plain(value: Any) -> Any:
    """Return what an HDF5 attribute holds: dicts and lists become JSON."""
    return json.dumps(value) if isinstance(value, dict | list) or value is None else value
