"""Tensors that wait between threads."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


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
