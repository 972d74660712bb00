"""Copy a store to another format, dtype, compression or location."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_folder import write_arrays
from featstore.format.codecs import Codec, float16_error, stored_chunk
from featstore.format.container import HDF5_SUFFIX, Container, chunk_name
from featstore.format.contents import Contents
from featstore.format.files import Files, files_at, is_remote, replacing, sync
from featstore.format.rows import check_chunk
from featstore.format.seal import sealed, sha256, unsealed
from featstore.keys import store_key
from featstore.reading.store import Store
from featstore.writing.destinations import NPY
from featstore.writing.writer import StoreWriter

Float16Error = dict[str, float] | None


def contents_of(store: Store, codec: Codec | None = None) -> Contents:
    """Return everything that a store holds except features, to write it again.

    Parameters
    ----------
    store : Store
    codec : Codec, optional
        By default that of the store. Another dtype changes the features and so the key; it
        becomes that of a build with this dtype.
    """
    codec = codec or store.container.codec
    attributes = unsealed(store.attributes)
    if codec.dtype != store.dtype:
        features = {**attributes["features"], "dtype": codec.dtype}
        key = store_key(
            features, store.classes, store.clip_keys(), subjects_known=store.subjects_known
        )
        attributes |= {"features": features, "key": key}
    return Contents(store.layout, store.columns, attributes, codec)


def export(store: Store, dest: Path | str, form: str, codec: Codec) -> Float16Error:
    """Write a store to a new location atomically; compare every chunk with its checksum.

    Parameters
    ----------
    store : Store
    dest : Path or str
        Must not exist. Missing parents are created. At a URL, the root metadata are written last
        and complete the store.
    form : {"zarr", "hdf5", "zip", "npy"}
    codec : Codec

    Returns
    -------
    dict or None
        What float16 costs, where the dtype becomes float16.

    Raises
    ------
    InputError
        If `dest` exists, or a value does not fit into float16.
    CorruptStoreError
        If a chunk was changed after `store` was sealed.
    """
    if is_remote(dest):
        return upload(store, str(dest), codec)
    write: dict[str, Callable[[Store, Path, Codec], Float16Error]] = {
        "zarr": copy_store,
        "hdf5": copy_store,
        "zip": archive,
        "npy": _write_npy,
    }
    with fresh(Path(dest)) as temporary:
        return write[form](store, temporary, codec)


@contextmanager
def fresh(dest: Path) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; move it to `dest` on success.

    Raises
    ------
    InputError
        If `dest` exists.
    """
    _check_free(dest)
    dest.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".exporting-", dir=dest.parent))
    try:
        yield folder / dest.name
        _check_free(dest)
        (folder / dest.name).rename(dest)
        sync(dest.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_free(dest: Path) -> None:
    if os.path.lexists(dest):
        raise InputError(f"{dest} exists; pass another destination.")


def copy_store(store: Store, final: Path, codec: Codec | None = None) -> Float16Error:
    """Copy a store as ``.zarr`` or ``.h5``; compare every chunk with its checksum.

    Parameters
    ----------
    store : Store
    final : Path
        The suffix decides the format.
    codec : Codec, optional
        By default that of the store; for HDF5, without compression.

    Returns
    -------
    dict or None
        What float16 costs, where the dtype becomes float16.

    Raises
    ------
    CorruptStoreError
        If a chunk was changed after `store` was sealed.
    """
    if codec is None:
        plain = final.suffix == HDF5_SUFFIX
        codec = Codec(store.dtype) if plain else store.container.codec
    writer = StoreWriter(final, contents_of(store, codec))
    try:
        copy_units(store, writer, writer.missing, codec)
        writer.seal()
    except BaseException:
        writer.discard()
        raise
    return writer.float16_error()


def copy_units(store: Store, writer: StoreWriter, units: list[int], codec: Codec) -> None:
    """Copy units from a store to a writer of the same layout; compare their checksums."""
    for unit in units:
        copy_chunk(store.container, writer, unit, codec)


def copy_chunk(
    container: Container,
    writer: StoreWriter,
    unit: int,
    codec: Codec,
    failed: Mapping[int, str] | None = None,
) -> None:
    """Copy one unit between stores of the same layout; compare its checksum.

    Parameters
    ----------
    container : Container
    writer : StoreWriter
    unit : int
    codec : Codec
        Codec of the writer.
    failed : mapping of int to str, optional
        Clips with a failed row, and the reasons.
    """
    writer.write_encoded(unit, *_encoded(container, unit, codec), failed)


def _encoded(
    container: Container, unit: int, codec: Codec
) -> tuple[bytes | memoryview, dict[str, Any]]:
    """Return a unit's bytes in another codec, and the rounding errors of its dtype."""
    content = container.chunk_bytes(unit)
    check_chunk(container, unit, memoryview(content))
    if codec == container.codec:
        return content, {"sha256": container.attributes["seal"]["files"][chunk_name(unit)]}
    chunk = container.codec.decode(content, container.chunk_shape)
    errors: dict[str, Any] = {}
    if codec.dtype != container.codec.dtype:
        chunk, errors = stored_chunk(chunk, len(chunk), codec)
    return codec.encode(chunk), errors


def upload(store: Store, url: str, codec: Codec | None = None) -> Float16Error:
    """Copy a store to a bucket as Zarr; write the root metadata with the seal last.

    Raises
    ------
    InputError
        If the URL holds anything other than an unfinished upload of this store.
    """
    return _write_zarr(store, files_at(url), url, codec)


def archive(store: Store, path: Path, codec: Codec | None = None) -> Float16Error:
    """Write a store as Zarr into a zip archive, atomically."""
    with replacing(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as opened:
            error = _write_zarr(store, _Zip(opened), str(path), codec)
        sync(temporary)
    sync(path.parent)
    return error


def _write_npy(store: Store, folder: Path, codec: Codec) -> Float16Error:
    contents, commits = contents_of(store, codec), []

    def chunks() -> Iterator[NDArray[Any]]:
        for unit in range(len(contents.layout.units())):
            content, errors = _encoded(store.container, unit, codec)
            commits.append(errors)
            yield codec.decode(bytes(content), store.container.chunk_shape)

    write_arrays(folder, contents, chunks())
    return float16_error(commits)


def _write_zarr(store: Store, files: Files, where: str, codec: Codec | None) -> Float16Error:
    from featstore.format.zarr_format import ROOT_FILE, encode_columns, root_text

    contents = contents_of(store, codec)
    small = encode_columns(contents.columns, contents.layout, contents.codec)
    units = range(len(contents.layout.units()))
    # Replace the files of an unfinished upload of this store; never touch other files.
    foreign = sorted(set(files.names()) - {*small, *map(chunk_name, units)})
    if foreign:
        raise InputError(f"{where} holds {foreign[0]}; remove it or pass another destination.")
    checksums: dict[str, str] = {}
    commits = []
    for name, content in small.items():
        files.write(name, content)
        checksums[name] = sha256(content)
    for unit in units:
        chunk, errors = _encoded(store.container, unit, contents.codec)
        files.write(chunk_name(unit), chunk)
        checksums[chunk_name(unit)] = errors.get("sha256") or sha256(chunk)
        commits.append(errors)
    files.write(ROOT_FILE, root_text(sealed(contents.attributes, checksums)))
    return float16_error(commits)


class _Zip:
    """Write files into an archive; all dates are equal, so equal stores give equal bytes."""

    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._opened = opened

    location = ""  # no other process writes into it

    def names(self) -> Iterator[str]:
        return iter(self._opened.namelist())

    def read(self, name: str, most: int | None = None) -> bytes:
        return self._opened.read(name)

    def write(self, name: str, content: bytes | memoryview) -> None:
        entry = zipfile.ZipInfo(name)
        with self._opened.open(entry, "w", force_zip64=len(content) >= 2**31) as stream:
            stream.write(content)


def codec_for(store: Store, form: str, dtype: str | None, compression: str | None) -> Codec:
    """Return the codec for an export; `None` keeps the dtype or compression of the store.

    Raises
    ------
    InputError
        If float16 should become float32, or the format does not support compression.
    """
    codec = store.container.codec
    if codec.dtype == "float16" and dtype == "float32":
        raise InputError(
            f"{store.path} holds float16, so the precision of float32 is lost; build it with "
            "--dtype float32, or omit --dtype (readers get float32 by astype)."
        )
    plain = form in ("hdf5", NPY)
    if plain and compression not in (None, "none"):
        why = "few readers have HDF5's plugins" if form == "hdf5" else "every .npy is plain"
        raise InputError(
            f"--compression is {compression}, but {form} is always uncompressed, because {why}; "
            "export to .zarr or .zarr.zip, or omit --compression."
        )
    return Codec(dtype or codec.dtype, "none" if plain else compression or codec.compression)
