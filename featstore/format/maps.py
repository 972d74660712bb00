"""Many pieces of files as one read-only array, mapped into memory and keeping no descriptor.

`mmap.mmap` keeps a descriptor a map, so a store of thousands of chunk files would run into
``ulimit -n``, and rows that lie in two files could not be one view. Here an address range is
reserved and every piece is mapped into its place, so that reading a chunked store is indexing an
array.
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

MAP_FIXED = 0x10  # the same on Linux and macOS; not in the mmap module
MAP_FAILED = ctypes.c_void_p(-1).value


class Piece(NamedTuple):
    """A range of bytes of one file."""

    path: Path
    offset: int
    length: int


def can_map(pieces: Sequence[Piece]) -> bool:
    """Tell whether the pieces can lie side by side in memory: they fill whole pages.

    The last one need not, for nothing follows it.
    """
    page = mmap.PAGESIZE
    return all(piece.offset % page == 0 for piece in pieces) and all(
        piece.length % page == 0 for piece in pieces[:-1]
    )


def map_pieces(pieces: Sequence[Piece]) -> NDArray[np.uint8]:
    """Return the bytes of all pieces, one after the other, as one read-only array.

    The maps end when the array and every view of it are gone.

    Parameters
    ----------
    pieces : sequence of Piece
        At least one; `can_map` holds.

    Raises
    ------
    OSError
        If a file is missing, or the system has no room for another map; the error names the file.
    ValueError
        If a file ends before its piece does.
    """
    libc = _libc()
    total = sum(piece.length for piece in pieces)
    # Reserved without access: what lies here is replaced piece by piece.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    base = _checked(libc.mmap(None, total, 0, flags, -1, 0), "memory")
    memory = (ctypes.c_ubyte * total).from_address(base)
    unmap = weakref.finalize(memory, libc.munmap, base, total)
    unmap.atexit = False  # views may outlive the handlers that run at exit; the system unmaps
    place = base
    for piece in pieces:
        descriptor = os.open(piece.path, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size < piece.offset + piece.length:
                raise ValueError(
                    f"{piece.path} is shorter than {piece.offset + piece.length} bytes"
                )
            shared = mmap.MAP_SHARED | MAP_FIXED
            found = libc.mmap(place, piece.length, mmap.PROT_READ, shared, descriptor, piece.offset)
            _checked(found, str(piece.path))
        finally:
            os.close(descriptor)
        place += piece.length
    # Read-only below numpy: who could set the array's flag would write into pages that cannot be.
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
