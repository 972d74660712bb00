"""Map many pieces of files into one read-only array, without open descriptors.

`mmap.mmap` keeps a descriptor per map, so a store of thousands of chunk files would exceed
``ulimit -n``, and rows in two files could not be one view. Here all pieces are mapped into one
reserved address range, so reading a chunked store is indexing an array.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAP_FIXED = 0x10  # equal on Linux and macOS; missing in the mmap module
MAP_FAILED = ctypes.c_void_p(-1).value


class Piece(NamedTuple):
    """A range of bytes of one file."""

    path: Path
    offset: int
    length: int


def can_map(pieces: Sequence[Piece]) -> bool:
    """Tell whether the pieces can be adjacent in memory: they must fill whole pages.

    The last piece may end anywhere.
    """
    page = mmap.PAGESIZE
    return all(piece.offset % page == 0 for piece in pieces) and all(
        piece.length % page == 0 for piece in pieces[:-1]
    )


def map_pieces(pieces: Sequence[Piece]) -> NDArray[np.uint8]:
    """Return the concatenated bytes of all pieces as one read-only array.

    The memory is unmapped when the array and all of its views are deleted.

    Parameters
    ----------
    pieces : sequence of Piece
        At least one; `can_map` must be true.

    Raises
    ------
    OSError
        If a file is missing, or the system's limit on maps is reached; the error names the file.
    ValueError
        If a file ends before its piece does.
    """
    libc = _libc()
    total = sum(piece.length for piece in pieces)
    # Reserve the range without access, then replace it piece by piece.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    base = _checked(libc.mmap(None, total, 0, flags, -1, 0), "memory")
    memory = (ctypes.c_ubyte * total).from_address(base)
    unmap = weakref.finalize(memory, libc.munmap, base, total)
    unmap.atexit = False  # views may outlive the handlers that run at exit; the system unmaps
    address = base
    for piece in pieces:
        descriptor = os.open(piece.path, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size < piece.offset + piece.length:
                raise ValueError(
                    f"{piece.path} is shorter than {piece.offset + piece.length} bytes"
                )
            shared = mmap.MAP_SHARED | MAP_FIXED
            mapped = libc.mmap(
                address, piece.length, mmap.PROT_READ, shared, descriptor, piece.offset
            )
            _checked(mapped, str(piece.path))
        finally:
            os.close(descriptor)
        address += piece.length
    # Read-only buffer, so that nobody can make the array writable: the pages are not.
    return np.frombuffer(memoryview(memory).toreadonly(), np.uint8)


def _checked(address: int | None, what: str) -> int:
    if address is None or address == MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return address


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    size, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, size, number, number, number, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, size]
    return libc
