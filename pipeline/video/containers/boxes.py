"""MP4 and MOV: boxes in boxes, ISO/IEC 14496-12."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

import numpy as np
from numpy.typing import NDArray

HEAD = 8  # bytes of a box's length and name
LARGE = 16  # where the length takes eight bytes


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its name, and where its content begins and ends."""

    name: bytes
    start: int
    end: int


def boxes(content: mmap, place: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two places; what is no box comes last."""
    while place + HEAD <= end:
        length, head = int.from_bytes(content[place : place + 4], "big"), HEAD
        if length == 1:
            length, head = int.from_bytes(content[place + HEAD : place + LARGE], "big"), LARGE
        length = end - place if length == 0 else max(length, head)
        name = content[place + 4 : place + HEAD]
        yield Box(name, place + head, min(end, place + length))
        if not is_name(name):
            return
        place += length


def inside(content: mmap, parent: Box) -> list[Box]:
    """Return the boxes in another one."""
    return list(boxes(content, parent.start, parent.end))


def is_name(name: bytes) -> bool:
    """Tell whether four bytes can name a box."""
    return all(32 <= byte < 127 or byte == 0xA9 for byte in name)


def named(content: mmap, parent: Box, *path: bytes) -> list[Box]:
    """Return the boxes under `parent` that are reached by these names."""
    found = [box for box in inside(content, parent) if box.name == path[0]]
    return found if len(path) == 1 else [b for box in found for b in named(content, box, *path[1:])]


def numbers(content: mmap, start: int, count: int) -> list[int]:
    """Return numbers of four bytes each."""
    return [int.from_bytes(content[n : n + 4], "big") for n in range(start, start + 4 * count, 4)]


def signed(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Read 32 bits as signed, as writers do, whatever the version of the table."""
    return np.where(values >= 2**31, values - 2**32, values)
