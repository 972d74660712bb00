"""Tensors that wait between threads."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
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
        memory = free.pop() if free else mmap.mmap(-1, max(1, size))
        array = np.frombuffer(memory, np.float32)
        weakref.finalize(array, free.append, memory)  # the tensor holds the array
        return torch.from_numpy(array).view(list(shape))


def mapped(shape: Sequence[int]) -> NDArray[np.float32]:
    """Return zeros in memory of their own, which goes back to the system with the array.

    For what outlives a forward: on the heap it would lie between the blocks of the next ones, and
    every such hole makes the heap larger.
    """
    size = int(np.prod(shape))
    memory = mmap.mmap(-1, max(1, 4 * size))
    return np.frombuffer(memory, np.float32, count=size).reshape(shape)


class Uploads:
    """Brings frames to a GPU and prepares them there while it computes features."""

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Run the block beside the backbone, to the end; on a CPU, run it."""
        if self._stream is None:
            yield
            return
        # Frames may come from a decoder on the same GPU.
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            yield
            done = self._stream.record_event()
        done.synchronize()

    def keep_until_read(self, frames: Sequence[Tensor]) -> None:
        """Let no other frame take the memory of these before the current stream has read them.

        Torch gives memory of this stream to its next frames as soon as nobody holds a tensor of it,
        also where another stream has still to read it.
        """
        if self._stream is not None:
            current = torch.cuda.current_stream(self._stream.device)
            for frame in frames:
                frame.record_stream(current)
