"""Where the memory of a build comes from: what is freed is kept, and what lasts lies apart."""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def keep_freed_memory() -> None:
    """Tell glibc to keep large blocks that are freed, for all threads in one place.

    A forward frees and takes hundreds of megabytes. By default each block is mapped and unmapped
    anew, and half of the processor's time goes into clearing pages. In the arenas that threads have
    otherwise, blocks above 64 MB are so whatever is said, and what one frees the others do not
    find. Threads that were there before keep their arenas, so this is called early. Does nothing
    with another C library.
    """
    mmap_max, trim_threshold, arena_max = -4, -1, -8  # M_MMAP_MAX and so on of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(arena_max, 1)


class Blocks:
    """Tensors in memory of their own, which is used again once nobody holds a tensor of it.

    For what lives as long as several forwards: on the heap it would lie between their blocks, and
    every such hole makes the heap larger.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[mmap.mmap]] = {}

    def take(self, shape: Sequence[int]) -> Tensor:
        """Return a tensor of float32 with any values."""
        size = 4 * int(np.prod(shape))
        free = self._free.setdefault(size, [])
        own = free.pop() if free else mmap.mmap(-1, max(1, size))
        array = np.frombuffer(own, np.float32)
        weakref.finalize(array, free.append, own)  # the tensor holds the array
        return torch.from_numpy(array).view(list(shape))


def mapped(shape: Sequence[int]) -> NDArray[np.float32]:
    """Return zeros in memory of their own, which goes back to the system with the array.

    For what outlives a forward: on the heap it would lie between the blocks of the next ones, and
    every such hole makes the heap larger.
    """
    size = int(np.prod(shape))
    own = mmap.mmap(-1, max(1, 4 * size))
    return np.frombuffer(own, np.float32, count=size).reshape(shape)
