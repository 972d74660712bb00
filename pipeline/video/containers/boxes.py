"""MP4 and MOV: nested boxes, ISO/IEC 14496-12."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

import numpy as np
from numpy.typing import NDArray

HEAD = 8  # bytes of a box's length and name
LARGE = 16  # header of a box with a length of eight bytes


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its name, and the start and end of its content."""

    name: bytes
    start: int
    end: int


def boxes(content: mmap, offset: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two offsets; stop after the first invalid one."""
    while offset + HEAD <= end:
        length, head = int.from_bytes(content[offset : offset + 4], "big"), HEAD
        if length == 1:
            length, head = int.from_bytes(content[offset + HEAD : offset + LARGE], "big"), LARGE
        length = end - offset if length == 0 else max(length, head)
        name = content[offset + 4 : offset + HEAD]
        yield Box(name, offset + head, min(end, offset + length))
        if not is_name(name):
            return
        offset += length


def inside(content: mmap, parent: Box) -> list[Box]:
    """Return the boxes directly inside another box."""
    return list(boxes(content, parent.start, parent.end))


def is_name(name: bytes) -> bool:
    """Tell whether four bytes can name a box."""
    return all(32 <= byte < 127 or byte == 0xA9 for byte in name)


def named(content: mmap, parent: Box, *path: bytes) -> list[Box]:
    """Return the boxes under `parent` at this path of names."""
    matches = [box for box in inside(content, parent) if box.name == path[0]]
    return (
        matches
        if len(path) == 1
        else [b for box in matches for b in named(content, box, *path[1:])]
    )


def numbers(content: mmap, start: int, count: int) -> list[int]:
    """Return `count` numbers of four bytes each."""
    return [int.from_bytes(content[n : n + 4], "big") for n in range(start, start + 4 * count, 4)]


def signed(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 32-bit values as signed; writers store them signed in every table version."""
    return np.where(values >= 2**31, values - 2**32, values)
