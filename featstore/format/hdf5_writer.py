"""Pack a store into one HDF5 file; see `featstore.format.hdf5_format`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import InputError
from featstore.format import schema
from featstore.format.container import chunk_name
from featstore.format.files import Folder, copy_into, sync
from featstore.format.hdf5_format import PAGE, _block_text, _rest, read_piece
from featstore.format.maps import Piece
from featstore.format.seal import sealed, sha256

if TYPE_CHECKING:
    import h5py

    from featstore.format.contents import Contents

# Readable by HDF5 1.10; fixed, so that the bytes do not depend on the library's version.
LIBRARY = ("v110", "v110")


def pack(
    path: Path,
    files: Folder,
    contents: Contents,
    attributes: Mapping[str, Any],
    chunks: Mapping[str, str],
) -> None:
    """Write an HDF5 file from the chunks of a finished Zarr store; it is synced on return.

    Parameters
    ----------
    path : Path
        Destination; an existing file is replaced.
    files : Folder
        Folder of the chunks.
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
    with path.open("r+b") as stream:  # written last: it makes the file a store
        stream.write(_block_text(complete, size))
    sync(path)


def _write_hdf5(
    path: Path, files: Folder, contents: Contents, attributes: Mapping[str, Any], block: int
) -> list[Piece]:
    import h5py

    layout, codec = contents.layout, contents.codec
    with h5py.File(
        path,
        "x",  # does not follow links
        libver=LIBRARY,
        userblock_size=block,
        # Align chunks to pages; smaller objects fill the gaps.
        alignment_threshold=PAGE,
        alignment_interval=PAGE,
    ) as file:
        file.attrs.update({name: _plain(value) for name, value in attributes.items()})
        scales = _Dimensions(file)
        for name, (dtype, dimension, dataset_attributes) in schema.ARRAYS.items():
            values = contents.columns[name]
            kind = h5py.string_dtype() if dtype == "string" else np.dtype(dtype).newbyteorder("<")
            stored = values.astype(object) if dtype == "string" else values
            dataset = file.create_dataset(name, data=stored, dtype=kind)
            dataset.attrs.update(dataset_attributes)
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
    """Compare the packed chunks on disk with their checksums."""
    for number, piece in enumerate(pieces):
        if sha256(read_piece(piece)) != chunks[chunk_name(number)]:
            raise InputError(
                f"{chunk_name(number)} was changed while {piece.path.name} was packed, by another "
                "program; run the same command again."
            )


def _reserving() -> Any:
    """Return the creation property that allocates chunks without writing them."""
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return properties


class _Dimensions:
    """Name dimensions as netCDF-4 does, so that xarray finds them."""

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
    """Return a value as an HDF5 attribute; dicts and lists become JSON."""
    return json.dumps(value) if isinstance(value, dict | list) or value is None else value
