"""Check that the metadata of a store are consistent.

A valid checksum proves only that nothing was changed since sealing. Metadata that somebody sealed
may still be invalid; they are refused before anything of their size is read or allocated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featstore.errors import CorruptStoreError
from featstore.format import schema
from featstore.format.seal import REMEDY

# Limit on the bytes of an array of names; each name takes as much as the longest.
MOST_NAME_BYTES: Final = 2**32
_STRING: Final = "string"
_KEY = re.compile(r"[0-9a-f]{64}")
_REQUIRED: Final = ("key", "title", "subjects_known", "clips")
_KINDS: Final[dict[str, type]] = {
    "key": str,
    "title": str,
    "subjects_known": bool,
    "clips": dict,
    "features": dict,
    "statistics": dict,
    "untrained": bool,
    "steps": int,
    "dim": int,
    "repeated_last_frame": int,
    "numerics": dict,
    "failed": dict,
    "mixed_numerics": list,
}


class ArrayMetadata(NamedTuple):
    """The shape and chunk shape in a Zarr array's ``zarr.json``.

    Attributes
    ----------
    shape, chunk_shape : tuple of int
    """

    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]

    @property
    def chunks(self) -> int:
        """The number of chunks; arrays are chunked only along the first dimension."""
        return -(-self.shape[0] // self.chunk_shape[0])


def check_attributes(attributes: Mapping[str, Any], where: str) -> None:
    """Check that all root attributes exist and have the right type.

    Raises
    ------
    CorruptStoreError
    """
    for name in _REQUIRED:
        if name not in attributes:
            raise _invalid(where, f"the attribute {name!r} is missing")
    for name, kind in _KINDS.items():
        value = attributes.get(name)
        if name in attributes and (type(value) is not kind):
            raise _invalid(where, f"the attribute {name!r} is not a {kind.__name__}")
    if not _KEY.fullmatch(attributes["key"]):
        raise _invalid(where, "the key is not 64 hexadecimal digits")
    if not all(type(count) is int for count in attributes["clips"].values()):
        raise _invalid(where, "the attribute 'clips' does not hold counts")
    files = attributes["seal"].get("files") if type(attributes.get("seal")) is dict else None
    if type(files) is not dict or not all(type(checksum) is str for checksum in files.values()):
        raise _invalid(where, "the seal lists no files")
    _check_statistics(attributes.get("statistics"), where)
    try:  # lone surrogates cannot be printed
        json.dumps(attributes, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _invalid(where, "the attributes are not Unicode") from None


def _check_statistics(statistics: Mapping[str, Any] | None, where: str) -> None:
    if statistics is None:
        return
    numbers = [statistics.get(name) for name in ("mean", "std")]
    whole = all(isinstance(values, list) and _are_numbers(values) for values in numbers)
    counted = statistics.get("origin") != "split" or all(
        type(statistics.get(name)) is int for name in ("pixels", "frames", "clips")
    )
    if not whole or not counted or not isinstance(statistics.get("origin"), str):
        raise _invalid(where, "the attribute 'statistics' is not mean, std and their origin")


def _are_numbers(values: Sequence[object]) -> bool:
    return all(type(value) in (int, float) for value in values)


def parse_array(
    text: bytes, name: str, dtype: str | None, codecs: Sequence[str], where: str
) -> tuple[ArrayMetadata, dict[str, Any]]:
    """Return the parsed and checked ``zarr.json`` of a Zarr array.

    Parameters
    ----------
    text : bytes
    name : str
        Of the array.
    dtype : str or None
        Required dtype; None if the caller checks it.
    codecs : sequence of str
        Allowed names of the first codec.
    where : str
        The location of the store, for messages.

    Raises
    ------
    CorruptStoreError
    """
    try:
        metadata = json.loads(text)
        shape, grid = metadata["shape"], metadata["chunk_grid"]
        chunk_shape, encoding = grid["configuration"]["chunk_shape"], metadata["chunk_key_encoding"]
        first = metadata["codecs"][0]
        dimensions = 2 if name == schema.FEATURES else 1
        problems = {
            "it is not an array": (metadata["zarr_format"], metadata["node_type"]) != (3, "array"),
            "it has no fill value": "fill_value" not in metadata,
            "its shape": not _is_shape(shape, dimensions, 0),
            "its chunks": grid["name"] != "regular" or not _is_shape(chunk_shape, dimensions, 1),
            "its numbers": dtype is not None and metadata["data_type"] != dtype,
            "its codecs": first["name"] not in codecs
            or first.get("configuration", {}).get("endian") not in ("little", None)
            or not all(isinstance(codec["name"], str) for codec in metadata["codecs"])
            or (name != schema.FEATURES and len(metadata["codecs"]) != 1),
            "the names of its chunks": encoding["name"] != "default"
            or encoding.get("configuration", {}).get("separator", "/") != "/",
        }
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        problems = {"it is not the metadata of an array": True}
    for problem, holds in problems.items():
        if holds:
            raise _invalid(where, f"{name}/zarr.json is invalid: {problem}")
    return ArrayMetadata(tuple(shape), tuple(chunk_shape)), metadata


def _is_shape(shape: object, dimensions: int, least: int) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) == dimensions
        and all(type(size) is int and least <= size < 2**62 for size in shape)
    )


def check_chunk_size(content: bytes, count: int, size: int, name: str, where: str) -> None:
    """Check that a column's chunk holds the number of entries in its metadata.

    Parameters
    ----------
    content : bytes
    count : int
        Number of entries.
    size : int
        Bytes of a numeric chunk; 0 for names, which begin with their count and their lengths.
    name, where : str
        Of the chunk and of the store, for messages.

    Raises
    ------
    CorruptStoreError
    """
    stated = int.from_bytes(content[:4], "little")
    if len(content) != size if size else stated != count or len(content) < 4 * (count + 1):
        raise _invalid(where, f"{name} does not hold {count} entries")


def names_array(names: Sequence[str], name: str, where: str) -> NDArray[np.str_]:
    """Return names as an array; each takes as much memory as the longest.

    Raises
    ------
    CorruptStoreError
        If the array exceeds `MOST_NAME_BYTES`.
    """
    longest = max(map(len, names), default=0)
    if 4 * longest * len(names) > MOST_NAME_BYTES:
        raise _invalid(where, f"{name} has {len(names)} names of up to {longest} characters")
    return np.array(names, np.str_)


def check_columns(columns: Mapping[str, NDArray[Any]], steps: int, where: str) -> None:
    """Check that the columns agree with the schema, with each other and with the features.

    Parameters
    ----------
    columns : mapping of str to ndarray
    steps : int
        Rows of the features.
    where : str
        The location of the store, for messages.

    Raises
    ------
    CorruptStoreError
    """
    sizes: dict[str, int] = {"step": steps}
    for name, (dtype, dimension, _) in schema.ARRAYS.items():
        values = columns[name]
        kind = np.str_ if dtype == _STRING else np.dtype(dtype)
        if values.ndim != 1 or not np.issubdtype(values.dtype, kind):
            raise _invalid(where, f"{name} is {values.dtype} {values.shape}, not {dtype} (n,)")
        if len(values) != sizes.setdefault(dimension, len(values)):
            raise _invalid(
                where, f"{name} has {len(values)} entries for {sizes[dimension]} of {dimension}"
            )
    row_size = columns["row_size"]
    if len(row_size) and row_size.min() < 0:
        raise _invalid(where, f"row_size is {row_size.min()} for a clip")
    if (total := sum(row_size.tolist())) != steps:
        raise _invalid(where, f"row_size adds up to {total} rows, but the features have {steps}")
    for column, names in POSITIONS.items():
        values, count = columns[column], len(columns[names])
        least = schema.UNLABELLED if column == "label" else 0
        wrong = values[(values < least) | (values >= count)]
        if len(wrong):
            raise _invalid(where, f"{column} is {wrong[0]} for a clip, but {names} has {count}")


# Columns of positions, and the arrays of names that they index.
POSITIONS: Final = {
    "label": "label_name",
    "subject": "subject_name",
    "video": "video_name",
    "split": "split_name",
}


def check_shape(attributes: Mapping[str, Any], shape: Sequence[int], where: str) -> None:
    """Check that the attributes state the shape of the features.

    Raises
    ------
    CorruptStoreError
    """
    for name, size in zip(("steps", "dim"), shape, strict=True):
        if attributes.get(name, size) != size:
            raise _invalid(where, f"{name} is {attributes[name]}, but the features have {size}")


def _invalid(where: str, what: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"{where} is sealed but invalid: {what}; write it again with the program that made it, "
        f"or {REMEDY}."
    )
