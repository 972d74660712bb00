"""Read and write a store as a Zarr format 3 group in a folder, zip archive or bucket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import CorruptStoreError, FeatstoreError, InputError
from featstore.format import schema
from featstore.format.codecs import Codec, codec_of
from featstore.format.container import Damage, chunk_name, not_found
from featstore.format.files import Folder, files_at, location_of
from featstore.format.layout import Layout
from featstore.format.maps import Piece, can_map
from featstore.format.seal import MOST_ROOT, REMEDY, check, check_seal, sha256
from featstore.format.validate import (
    ArrayMetadata,
    check_attributes,
    check_chunk_size,
    check_columns,
    check_shape,
    names_array,
    parse_array,
)
from featstore.json_text import parse_object

ROOT_FILE = "zarr.json"
CHUNKS = "features/c/"
READERS = 8
# Limits on the bytes of an array's metadata, and of any other file.
MOST_METADATA, MOST_NAMES = 2**20, 2**30
FIXED, VARIABLE = ("bytes",), ("vlen-utf8",)  # codecs of numbers and of names
_CHUNK = re.compile(rf"{CHUNKS}(\d+)/0")


class ZarrContainer:
    """Read a Zarr store; see `featstore.format.container.Container`."""

    def __init__(self, location: Path | str) -> None:
        self.location = location_of(location)
        self._files = files_at(self.location)
        self.attributes = self._read_root()
        self._seal: dict[str, str] = self.attributes["seal"]["files"]

    @cached_property
    def _features(self) -> tuple[ArrayMetadata, Codec]:
        where = str(self.location)
        text = self._checked(f"{schema.FEATURES}/{ROOT_FILE}", MOST_METADATA)
        array, metadata = parse_array(text, schema.FEATURES, None, FIXED, where)
        if array.shape[1] != array.chunk_shape[1]:
            raise CorruptStoreError(f"{where}: chunks split rows; {REMEDY}.")
        check_shape(self.attributes, array.shape, where)
        return array, codec_of(metadata, where)

    @property
    def codec(self) -> Codec:
        """The dtype of the features and their compressor."""
        return self._features[1]

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """The rows and dim of a chunk."""
        rows, dim = self._features[0].chunk_shape
        return rows, dim

    @property
    def _chunk_bytes(self) -> int:
        """Uncompressed bytes of a chunk of features."""
        rows, dim = self.chunk_shape
        return rows * dim * self.codec.item_size

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return all arrays except features; compare them with the seal."""
        with ThreadPoolExecutor(READERS) as pool:  # reads of a bucket wait for the network
            metadata = [f"{name}/{ROOT_FILE}" for name in schema.ARRAYS]
            texts = pool.map(lambda name: self._checked(name, MOST_METADATA), metadata)
            small = dict(zip(metadata, texts, strict=True))
            chunks = self._column_chunks(small)
            most = (size or MOST_NAMES for _, size in chunks.values())
            contents = list(pool.map(self._checked, chunks, most))
        where = str(self.location)
        for (name, (count, size)), content in zip(chunks.items(), contents, strict=True):
            check_chunk_size(content, count, size, name, where)
        small |= zip(chunks, contents, strict=True)
        columns = decode_columns(small, where)
        check_columns(columns, self._features[0].shape[0], where)
        return columns

    def _column_chunks(self, metadata: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
        """Return the number of entries and bytes of each columns' chunk, by name.

        Bytes are 0 for names, because their chunks have any size.

        Raises
        ------
        CorruptStoreError
            If the seal does not list exactly the files of the arrays.
        """
        where, chunks = str(self.location), dict[str, tuple[int, int]]()
        features = self._features[0].chunks
        for name, (dtype, _, _) in schema.ARRAYS.items():
            codecs, size = (VARIABLE, 0) if dtype == "string" else (FIXED, np.dtype(dtype).itemsize)
            array, _ = parse_array(metadata[f"{name}/{ROOT_FILE}"], name, dtype, codecs, where)
            if array.chunks > len(self._seal):
                raise CorruptStoreError(f"{where}: chunks of {name} are missing; {REMEDY}.")
            count = array.chunk_shape[0]
            names = (f"{name}/c/{number}" for number in range(array.chunks))
            chunks |= dict.fromkeys(names, (count, size * count))
        count = len(metadata) + len(chunks) + 1 + features
        listed = {*metadata, *chunks, f"{schema.FEATURES}/{ROOT_FILE}"}
        if (
            count != len(self._seal)
            or not all(name in listed or name.startswith(CHUNKS) for name in self._seal)
            or not all(chunk_name(number) in self._seal for number in range(features))
        ):
            raise CorruptStoreError(f"{where}: the seal lists unknown files; {REMEDY}.")
        return chunks

    def chunk_bytes(self, number: int) -> bytes:
        """Return the stored bytes of a chunk of features."""
        try:
            # Incompressible data grow a little.
            return self._files.read(chunk_name(number), self._chunk_bytes * 9 // 8 + 2**16)
        except OSError as error:
            raise self._unreadable(chunk_name(number), error) from None

    def pieces(self) -> list[Piece] | None:
        """Return the chunks as ranges of local files; None if they are compressed or remote."""
        if not isinstance(self._files, Folder) or self.codec.compression != "none":
            return None
        count, length = self._features[0].chunks, self._chunk_bytes
        pieces = [Piece(self._files.path / chunk_name(n), 0, length) for n in range(count)]
        return pieces if can_map(pieces) else None

    def damages(self) -> Iterator[Damage]:
        """Yield every file that disagrees with the seal."""
        if self._files.read(ROOT_FILE) != root_text(self.attributes):
            yield Damage(ROOT_FILE, "was changed", None)
        there = set(self._files.names()) - {ROOT_FILE}
        for name, expected in self._seal.items():
            number = int(match[1]) if (match := _CHUNK.fullmatch(name)) else None
            if name not in there:
                yield Damage(name, "is missing", number)
                continue
            try:
                changed = sha256(self._files.read(name, MOST_NAMES)) != expected
            except OSError as error:
                yield Damage(name, f"cannot be read ({error})", number)
                continue
            if changed:
                yield Damage(name, "was changed", number)
        for name in sorted(there - self._seal.keys()):
            yield Damage(name, "was added", None, foreign=True)

    def _read_root(self) -> dict[str, Any]:
        try:
            text = self._files.read(ROOT_FILE, MOST_ROOT)
        except (FileNotFoundError, NotADirectoryError):
            raise not_found(self.location) from None
        except OSError as error:
            raise self._unreadable(ROOT_FILE, error) from None
        try:
            root = parse_object(text)
            attributes = root["attributes"]
            check_seal(attributes, str(self.location))
            check_attributes(attributes, str(self.location))
            if (root["zarr_format"], root["node_type"]) != (3, "group"):
                raise ValueError("it has another format")
        except FeatstoreError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorruptStoreError(
                f"{self.location}/{ROOT_FILE} is not the metadata of a Zarr group ({error}); "
                f"{REMEDY}."
            ) from None
        return dict(attributes)

    def _checked(self, name: str, most: int) -> bytes:
        try:
            content = self._files.read(name, most)
        except OSError as error:
            raise self._unreadable(name, error) from None
        check(content, self._seal.get(name), f"{self.location}/{name}")
        return content

    def _unreadable(self, name: str, error: OSError) -> FeatstoreError:
        if isinstance(error, FileNotFoundError):
            return CorruptStoreError(f"{self.location}/{name} is missing; {REMEDY}.")
        state = f"cannot be read ({error.strerror or error})"
        if not isinstance(self.location, Path):
            return InputError(
                f"{self.location}/{name} {state}; check the credentials and the network."
            )
        if isinstance(error, PermissionError):
            return InputError(f"{self.location}/{name} {state}; check its permissions.")
        return CorruptStoreError(f"{self.location}/{name} {state}; {REMEDY}.")


def decode_columns(small: Mapping[str, bytes], where: str) -> dict[str, NDArray[Any]]:
    """Return all arrays except features, from the bytes of their files.

    Raises
    ------
    CorruptStoreError
        If the bytes are invalid.
    """
    try:
        columns = _decode(small)
    except Exception as error:  # zarr and its codecs raise errors of many kinds
        raise CorruptStoreError(
            f"{where}: its columns cannot be decoded ({type(error).__name__}: {error}); {REMEDY}."
        ) from None
    strings = ("clip_id", *schema.NAME_ARRAYS)
    return columns | {name: names_array(columns[name].tolist(), name, where) for name in strings}


def _decode(small: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    buffer = default_buffer_prototype().buffer
    memory = MemoryStore({name: buffer.from_bytes(content) for name, content in small.items()})
    names = (*schema.CLIP_COLUMNS, *schema.NAME_ARRAYS, *schema.STEP_COLUMNS)
    arrays = {name: zarr.open_array(memory, path=name, mode="r") for name in names}
    return {name: np.asarray(array[...]) for name, array in arrays.items()}


def encode_columns(
    columns: Mapping[str, NDArray[Any]], layout: Layout, codec: Codec
) -> dict[str, bytes]:
    """Return the files of all arrays, except the chunks of features and the root."""
    import zarr
    from zarr.storage import MemoryStore

    small: dict[str, Any] = {}
    memory = MemoryStore(small)
    for name, (dtype, dimension, attributes) in schema.ARRAYS.items():
        values = columns[name]
        array = zarr.create_array(
            memory,
            name=name,
            shape=values.shape,
            chunks=(max(1, min(len(values), schema.COLUMN_CHUNK)),),
            dtype=dtype,
            compressors=None,
            attributes=dict(attributes),
            dimension_names=(dimension,),
            # A chunk of fill values must still be a file with a checksum.
            config={"write_empty_chunks": True},
        )
        array[...] = values.astype(object) if dtype == "string" else values
    zarr.create_array(
        memory,
        name=schema.FEATURES,
        shape=(layout.steps, layout.dim),
        chunks=(layout.chunk_rows, layout.dim),
        dtype=codec.dtype,
        fill_value=float("nan"),
        compressors=codec.zarr_compressors(),
        dimension_names=("step", "feature"),
    )
    del small[ROOT_FILE]  # written last, by the seal
    return {name: buffer.to_bytes() for name, buffer in small.items()}


def root_text(attributes: Mapping[str, Any]) -> bytes:
    """Return the text of the root ``zarr.json``."""
    root = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    return json.dumps(root, indent=2).encode()
