"""Batches of a store's features as tensors on the training device.

Features that fit in memory are read once and held, resampled and standardised. Those of a larger
store are streamed. Both give the same batches in the same order, except for compressed and remote
stores, which stream in an order shuffled by blocks (see `featstore.reading.stream`). There are no
worker processes: gathering a batch takes less time than passing it between processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from featstore import Batch, Store
from featstore.format.rows import MappedRows
from pipeline.system.device import upload
from pipeline.system.distributed import processes
from pipeline.train.data.augment import valid_steps
from pipeline.train.data.standardise import Standardiser
from pipeline.types import Clips

BLOCK = 256  # clips read at a time to be held
MOST_MAPPED = 256 * 2**20  # bytes held of a mapped store; the page cache already holds them
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")  # Linux


@dataclass(frozen=True, slots=True)
class TensorBatch:
    """A padded batch of clips on the feed's device.

    Attributes
    ----------
    features : float32 tensor (B, T, D)
        Standardised. Padded steps are undefined.
    mask : bool tensor (B, T)
        On the CPU, so that nobody has to wait for a GPU to learn how long clips are.
    labels : int64 tensor (B,)
    """

    features: Tensor
    mask: Tensor
    labels: Tensor


class Feed:
    """Clips of a store, in batches on a device.

    Parameters
    ----------
    store : Store
    device : torch.device
    steps : int, optional
        Resample every clip to this number of steps; by default batches are padded.
    standardise : Standardiser, optional
    held : int64 array (n,), optional
        Positions of the clips that are used repeatedly. They are read at the first batch and held
        on the device if they fit into half of its free memory; on a CPU at most `MOST_MAPPED`
        bytes of a mapped store. Other clips are streamed.
    views : int
        Augmented views whose features are side by side in a step; see `pipeline.train.data.views`.

    Attributes
    ----------
    waited : float
        Seconds that the consumer has waited for batches so far.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        *,
        steps: int | None = None,
        standardise: Standardiser | None = None,
        held: Clips | None = None,
        views: int = 1,
    ) -> None:
        self.store, self.device, self.waited, self.views = store, device, 0.0, views
        self._steps, self._standardise = steps, standardise
        self._wanted: Clips = np.unique(np.zeros(0, np.int64) if held is None else held)
        self._held: _Held | None = None

    @property
    def held_bytes(self) -> int:
        """The size of the held features, in bytes."""
        return 0 if self._held is None else self._held.rows.nbytes

    def batches(
        self,
        clips: Clips,
        batch_size: int,
        *,
        rng: np.random.Generator | None = None,
        probabilities: npt.NDArray[np.float64] | None = None,
    ) -> Iterator[TensorBatch]:
        """Yield the batches of one pass over clips.

        Parameters
        ----------
        clips : int64 array (n,)
            Positions in the store.
        batch_size : int
            The last batch may be smaller.
        rng : numpy.random.Generator, optional
            Source of the order; without it clips come in the order of `clips`.
        probabilities : float64 array (n,), optional
            Draw n clips with replacement by these probabilities; needs `rng`.
        """
        batches = self._batches(clips, batch_size, rng, probabilities)
        while True:
            since = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - since
            if batch is None:
                return
            yield batch

    def _batches(
        self,
        clips: Clips,
        batch_size: int,
        rng: np.random.Generator | None,
        probabilities: npt.NDArray[np.float64] | None,
    ) -> Iterator[TensorBatch]:
        if len(self._wanted) and np.isin(clips, self._wanted).all():
            if self._fits():
                self._held = self._held or self._hold()
                # The order of a stream of a mapped store, so that both train the same weights.
                if rng is not None:
                    if probabilities is not None:
                        clips = rng.choice(clips, size=len(clips), p=probabilities)
                    clips = rng.permutation(clips)
                for first in range(0, len(clips), batch_size):
                    yield self._held.batch(clips[first : first + batch_size])
                return
            self._wanted = self._wanted[:0]
        stream = self.store.stream(
            batch_size, rng, clips=clips, probabilities=probabilities, steps=self._steps
        )
        for batch in stream:
            features = self._on_device(batch)
            mask, labels = torch.from_numpy(batch.mask), upload(batch.labels, self.device)
            yield TensorBatch(features, mask, labels)

    def _fits(self) -> bool:
        if self._held is not None:
            return True
        sizes = self.store.row_size[self._wanted]
        rows = int(sizes.sum()) if self._steps is None else self._steps * len(sizes)
        group = processes()  # each process holds all; all must choose alike
        most = free_memory(self.device) // (2 if self.device.type == "cuda" else 2 * group.here)
        if self.device.type == "cpu" and isinstance(self.store.rows, MappedRows):
            most = min(most, MOST_MAPPED)
        return group.all(rows * self.store.dim * 4 <= most)

    def _hold(self) -> _Held:
        sizes = self.store.row_size[self._wanted]
        if self._steps is not None:
            sizes = np.where(sizes > 0, self._steps, 0)
        ends = np.cumsum(sizes)
        rows = torch.empty((int(ends[-1]), self.store.dim), device=self.device)
        first = 0
        for batch in self.store.stream(BLOCK, clips=self._wanted, steps=self._steps):
            valid_rows = valid_steps(self._on_device(batch), torch.from_numpy(batch.mask))
            rows[first : first + len(valid_rows)] = valid_rows
            first += len(valid_rows)
        labels = upload(self.store.labels[self._wanted], self.device)
        return _Held(self._wanted, rows, ends - sizes, sizes, labels)

    def _on_device(self, batch: Batch) -> Tensor:
        features = upload(batch.features, self.device)
        return self._standardise(features, batch.clips) if self._standardise else features


@dataclass(frozen=True, slots=True)
class _Held:
    """Rows of some clips on a device, concatenated."""

    clips: Clips
    rows: Tensor
    firsts: Clips
    sizes: Clips
    labels: Tensor

    def batch(self, clips: Clips) -> TensorBatch:
        positions = np.searchsorted(self.clips, clips)
        device, sizes = self.rows.device, self.sizes[positions]
        width, dim = int(sizes.max()), self.rows.shape[1]
        chosen = upload(positions, device)
        if (self.sizes == width).all():  # copies whole clips instead of single rows
            features = self.rows.view(-1, width, dim).index_select(0, chosen)
            mask = torch.ones(features.shape[:2], dtype=torch.bool)
        else:
            steps = np.arange(width)
            valid = steps < sizes[:, None]
            index = np.where(valid, self.firsts[positions][:, None] + steps, 0)
            flat = upload(index.ravel(), device)
            features = self.rows.index_select(0, flat).view(len(positions), width, dim)
            mask = torch.from_numpy(valid)
        return TensorBatch(features, mask, self.labels.index_select(0, chosen))


def free_memory(device: torch.device) -> int:
    """Return the free bytes on a device; 0 if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return 0
    try:
        lines = MEMINFO.read_text("ascii").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        return 0
    try:  # a container may have a lower limit
        most, used = ((CGROUP / f"memory.{name}").read_text("ascii") for name in ("max", "current"))
        return max(0, min(free, int(most) - int(used)))
    except (OSError, ValueError):  # no limit, or "max"
        return free
