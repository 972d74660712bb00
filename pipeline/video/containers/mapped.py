"""Memory-map a file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def mapped(file: BinaryIO) -> Iterator[mmap.mmap]:
    """Yield a memory map of a file, which must not be empty."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content
