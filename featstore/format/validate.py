"""Whether what a store says makes sense.

A valid checksum says that nothing was changed since the store was sealed, by whomever. What a
stranger sealed may still be senseless, and is refused before anything of its size is read or made.
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

# An array of names may take this much; each of them takes as much as the longest.
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
    """What a Zarr array's ``zarr.json`` says of its shape.

    Attributes
    ----------
    shape, chunk_shape : tuple of int
    """

    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]

    @property
    def chunks(self) -> int:
        """How many chunks there are; of several dimensions, all of them along the first."""
        return -(-self.shape[0] // self.chunk_shape[0])


def check_attributes(attributes: Mapping[str, Any], where: str) -> None:
    """Check that root attributes are there and of their kind.

    Raises
    ------
    CorruptStoreError
    """
    for name in _REQUIRED:
        if name not in attributes:
            raise _senseless(where, f"the attribute {name!r} is missing")
    for name, kind in _KINDS.items():
        value = attributes.get(name)
        if name in attributes and (type(value) is not kind):
            raise _senseless(where, f"the attribute {name!r} is no {kind.__name__}")
    if not _KEY.fullmatch(attributes["key"]):
        raise _senseless(where, "the key is not 64 hexadecimal digits")
    if not all(type(count) is int for count in attributes["clips"].values()):
        raise _senseless(where, "the attribute 'clips' does not hold counts")
    files = attributes["seal"].get("files") if type(attributes.get("seal")) is dict else None
    if type(files) is not dict or not all(type(own) is str for own in files.values()):
        raise _senseless(where, "the seal lists no files")
    _check_statistics(attributes.get("statistics"), where)
    try:  # half of a pair of surrogates cannot be printed
        json.dumps(attributes, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _senseless(where, "the attributes are not Unicode") from None


def _check_statistics(statistics: Mapping[str, Any] | None, where: str) -> None:
    if statistics is None:
        return
    numbers = [statistics.get(name) for name in ("mean", "std")]
    whole = all(isinstance(own, list) and _are_numbers(own) for own in numbers)
    counted = statistics.get("origin") != "split" or all(
        type(statistics.get(name)) is int for name in ("pixels", "frames", "clips")
    )
    if not whole or not counted or not isinstance(statistics.get("origin"), str):
        raise _senseless(where, "the attribute 'statistics' is not mean, std and their origin")


def _are_numbers(values: Sequence[object]) -> bool:
    return all(type(value) in (int, float) for value in values)


def parse_array(
    text: bytes, name: str, dtype: str | None, codecs: Sequence[str], where: str
) -> tuple[ArrayMetadata, dict[str, Any]]:
    """Return what a Zarr array's ``zarr.json`` says.

    Parameters
    ----------
    text : bytes
    name : str
        Of the array.
    dtype : str or None
        What its numbers must be; None where the caller looks.
    codecs : sequence of str
        The codec that must come first is one of these.
    where : str
        The place of the store, for messages.

    Raises
    ------
    CorruptStoreError
    """
    try:
        found = json.loads(text)
        shape, grid = found["shape"], found["chunk_grid"]
        chunk_shape, encoding = grid["configuration"]["chunk_shape"], found["chunk_key_encoding"]
        first = found["codecs"][0]
        dimensions = 2 if name == schema.FEATURES else 1
        problems = {
            "it is no array": (found["zarr_format"], found["node_type"]) != (3, "array"),
            "it has no fill value": "fill_value" not in found,
            "its shape": not _is_shape(shape, dimensions, 0),
            "its chunks": grid["name"] != "regular" or not _is_shape(chunk_shape, dimensions, 1),
            "its numbers": dtype is not None and found["data_type"] != dtype,
            "its codecs": first["name"] not in codecs
            or first.get("configuration", {}).get("endian") not in ("little", None)
            or not all(isinstance(codec["name"], str) for codec in found["codecs"])
            or (name != schema.FEATURES and len(found["codecs"]) != 1),
            "the names of its chunks": encoding["name"] != "default"
            or encoding.get("configuration", {}).get("separator", "/") != "/",
        }
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        problems = {"it is not the metadata of an array": True}
    for problem, holds in problems.items():
        if holds:
            raise _senseless(where, f"{name}/zarr.json is not that of a store: {problem}")
    return ArrayMetadata(tuple(shape), tuple(chunk_shape)), found


def _is_shape(shape: object, dimensions: int, least: int) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) == dimensions
        and all(type(size) is int and least <= size < 2**62 for size in shape)
    )


def check_chunk_size(content: bytes, count: int, size: int, name: str, where: str) -> None:
    """Check that a column's chunk holds as many entries as its metadata say.

    Parameters
    ----------
    content : bytes
    count : int
        Entries.
    size : int
        Bytes that numbers take; 0 for names, which begin with their count and each with its length.
    name, where : str
        Of the chunk and of the store, for messages.

    Raises
    ------
    CorruptStoreError
    """
    stated = int.from_bytes(content[:4], "little")
    if len(content) != size if size else stated != count or len(content) < 4 * (count + 1):
        raise _senseless(where, f"{name} does not hold {count} entries")


def names_array(names: Sequence[str], name: str, where: str) -> NDArray[np.str_]:
    """Return names as an array, each of which takes as much memory as the longest.

    Raises
    ------
    CorruptStoreError
        If that is more than `MOST_NAME_BYTES`.
    """
    longest = max(map(len, names), default=0)
    if 4 * longest * len(names) > MOST_NAME_BYTES:
        raise _senseless(where, f"{name} has {len(names)} names of up to {longest} characters")
    return np.array(names, np.str_)


def check_columns(columns: Mapping[str, NDArray[Any]], steps: int, where: str) -> None:
    """Check that the columns agree with the schema, with each other and with the features.

    Parameters
    ----------
    columns : mapping of str to ndarray
    steps : int
        Rows of the features.
    where : str
        The place of the store, for messages.

    Raises
    ------
    CorruptStoreError
    """
    sizes: dict[str, int] = {"step": steps}
    for name, (dtype, dimension, _) in schema.ARRAYS.items():
        values = columns[name]
        kind = np.str_ if dtype == _STRING else np.dtype(dtype)
        if values.ndim != 1 or not np.issubdtype(values.dtype, kind):
            raise _senseless(where, f"{name} is {values.dtype} {values.shape} and no {dtype} (n,)")
        if len(values) != sizes.setdefault(dimension, len(values)):
            raise _senseless(
                where, f"{name} has {len(values)} entries for {sizes[dimension]} of {dimension}"
            )
    row_size = columns["row_size"]
    if len(row_size) and row_size.min() < 0:
        raise _senseless(where, f"row_size is {row_size.min()} for a clip")
    if (total := sum(row_size.tolist())) != steps:
        raise _senseless(where, f"row_size adds up to {total} rows, and the features have {steps}")
    for column, names in POSITIONS.items():
        values, count = columns[column], len(columns[names])
        wrong = values[(values < 0) | (values >= count)]
        if len(wrong):
            raise _senseless(where, f"{column} is {wrong[0]} for a clip, and {names} has {count}")


# Columns of positions, and the names that they are positions of.
POSITIONS: Final = {
    "label": "label_name",
    "subject": "subject_name",
    "video": "video_name",
    "split": "split_name",
}


def check_shape(attributes: Mapping[str, Any], shape: Sequence[int], where: str) -> None:
    """Check that the attributes state the shape that the features have.

    Raises
    ------
    CorruptStoreError
    """
    for name, size in zip(("steps", "dim"), shape, strict=True):
        if attributes.get(name, size) != size:
            raise _senseless(where, f"{name} is {attributes[name]}, and the features have {size}")


def _senseless(where: str, what: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"{where} is sealed, but makes no sense: {what}; whoever wrote it has to write it again, "
        f"or {REMEDY}."
    )
