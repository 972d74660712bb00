"""A file in memory, of which only what is looked at is read."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def mapped(file: BinaryIO) -> Iterator[mmap.mmap]:
    """Give a file's bytes; it must not be empty."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content
