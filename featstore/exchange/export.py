"""The same store in another format, dtype or compression, or at another place."""

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
    """Return what a store holds beside its features, to write it again.

    Parameters
    ----------
    store : Store
    codec : Codec, optional
        By default the store's own. Another dtype makes other features, and so another key: that
        of the build with this dtype.
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
    """Write a store to a new place, whole or not at all, comparing every chunk with its checksum.

    Parameters
    ----------
    store : Store
    dest : Path or str
        Must not exist. Missing parents are made. At a URL, a store can be opened when its root
        metadata are written, which is last.
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
    """Give a path of the same name in a temporary folder, moved to `dest` if the block ends well.

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
        raise InputError(f"{dest} exists, and nothing is overwritten; name another place.")


def copy_store(store: Store, final: Path, codec: Codec | None = None) -> Float16Error:
    """Write a store again as ``.zarr`` or ``.h5``, comparing every chunk with its checksum.

    Parameters
    ----------
    store : Store
    final : Path
        The suffix decides the format.
    codec : Codec, optional
        By default the store's own; for HDF5 without compression.

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
    """Copy whole units of one layout from a store to a writer, comparing their checksums."""
    for unit in units:
        copy_chunk(store.container, writer, unit, codec)


def copy_chunk(
    container: Container,
    writer: StoreWriter,
    unit: int,
    codec: Codec,
    failed: Mapping[int, str] | None = None,
) -> None:
    """Copy one unit, whose layout is the same on both sides, comparing its checksum.

    Parameters
    ----------
    container : Container
    writer : StoreWriter
    unit : int
    codec : Codec
        That of the writer.
    failed : mapping of int to str, optional
        Clips with a row that failed, and why.
    """
    writer.write_encoded(unit, *_encoded(container, unit, codec), failed)


def _encoded(
    container: Container, unit: int, codec: Codec
) -> tuple[bytes | memoryview, dict[str, Any]]:
    """Return a unit's bytes in another codec, and what its dtype costs."""
    content = container.chunk_bytes(unit)
    check_chunk(container, unit, memoryview(content))
    if codec == container.codec:
        return content, {"sha256": container.attributes["seal"]["files"][chunk_name(unit)]}
    chunk = container.codec.decode(content, container.chunk_shape)
    known: dict[str, Any] = {}
    if codec.dtype != container.codec.dtype:
        chunk, known = stored_chunk(chunk, len(chunk), codec)
    return codec.encode(chunk), known


def upload(store: Store, url: str, codec: Codec | None = None) -> Float16Error:
    """Copy a store to a bucket as Zarr; its root metadata, with the seal, goes last.

    Raises
    ------
    InputError
        If a store, or anything else but the beginnings of this one, is there already.
    """
    return _write_zarr(store, files_at(url), url, codec)


def archive(store: Store, path: Path, codec: Codec | None = None) -> Float16Error:
    """Write a store as Zarr into a zip archive, whole or not at all."""
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
            content, known = _encoded(store.container, unit, codec)
            commits.append(known)
            yield codec.decode(bytes(content), store.container.chunk_shape)

    write_arrays(folder, contents, chunks())
    return float16_error(commits)


def _write_zarr(store: Store, files: Files, where: str, codec: Codec | None) -> Float16Error:
    from featstore.format.zarr_format import ROOT_FILE, encode_columns, root_text

    contents = contents_of(store, codec)
    small = encode_columns(contents.columns, contents.layout, contents.codec)
    units = range(len(contents.layout.units()))
    # Beginnings of the same upload are replaced file by file; anything else stays as it is.
    foreign = sorted(set(files.names()) - {*small, *map(chunk_name, units)})
    if foreign:
        raise InputError(f"{where} is taken: {foreign[0]} is there; remove it or name another.")
    checksums: dict[str, str] = {}
    commits = []
    for name, content in small.items():
        files.write(name, content)
        checksums[name] = sha256(content)
    for unit in units:
        chunk, known = _encoded(store.container, unit, contents.codec)
        files.write(chunk_name(unit), chunk)
        checksums[chunk_name(unit)] = known.get("sha256") or sha256(chunk)
        commits.append(known)
    files.write(ROOT_FILE, root_text(sealed(contents.attributes, checksums)))
    return float16_error(commits)


class _Zip:
    """Files that go into an archive; every entry has the same date, so equal stores equal bytes."""

    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._opened = opened

    place = ""  # nobody else writes into it

    def names(self) -> Iterator[str]:
        return iter(self._opened.namelist())

    def read(self, name: str, most: int | None = None) -> bytes:
        return self._opened.read(name)

    def write(self, name: str, content: bytes | memoryview) -> None:
        entry = zipfile.ZipInfo(name)
        with self._opened.open(entry, "w", force_zip64=len(content) >= 2**31) as stream:
            stream.write(content)


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
