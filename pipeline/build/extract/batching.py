"""Inputs of the backbone, collected into full batches, and what comes back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.extract.buffers import mapped
from pipeline.build.extract.timings import BACKBONE_WAITED, Timings
from pipeline.build.plan.clips import NOT_FINITE


class Receiver(Protocol):
    """Takes the features of inputs, which are numbered in the order in which they are added.

    Attributes
    ----------
    added : int
        Inputs that were added so far.
    failed : dict of int to str
        Number of a lost input to the reason.
    """

    added: int
    failed: dict[int, str]

    def take(self, numbers: list[int], features: Tensor) -> None:
        """Take the features of some inputs."""


class RowStream:
    """Features in the order of their inputs, each handed on as soon as it is computed."""

    def __init__(self) -> None:
        self.added = 0
        self.failed: dict[int, str] = {}
        self._rows: dict[int, NDArray[np.float32]] = {}
        self._next = 0

    def take(self, numbers: list[int], features: Tensor) -> None:
        """Take the features of some inputs; an input whose features are not finite has failed."""
        rows = features.numpy()
        for number, row, finite in zip(numbers, rows, np.isfinite(rows).all(axis=1), strict=True):
            if finite:
                self._rows[number] = row
            else:
                self.failed[number] = NOT_FINITE

    def ready(self) -> Iterator[NDArray[np.float32] | str]:
        """Yield the next rows that are computed, or why one is lost."""
        while True:
            if self._next in self._rows:
                yield self._rows.pop(self._next)
            elif self._next in self.failed:
                yield self.failed.pop(self._next)
            else:
                return
            self._next += 1


class UnitFeatures:
    """The features of one unit, which come in batches.

    Parameters
    ----------
    inputs : int
        How many there are in all.
    dim : int
        Length of a feature vector.

    Attributes
    ----------
    features : ndarray of float32, shape (inputs, dim)
        NaN where an input has failed.
    failed : dict of int to str
        Number of an input that is lost, or whose features are not finite, to why.
    added : int
        How many inputs were taken so far.
    """

    def __init__(self, inputs: int, dim: int) -> None:
        self.features: NDArray[np.float32] = mapped((inputs, dim))
        self.features[:] = np.nan
        self.failed: dict[int, str] = {}
        self.added = 0
        self._computed = 0

    @property
    def complete(self) -> bool:
        """Whether every input is computed or lost."""
        return self._computed + len(self.failed) == len(self.features)

    def take(self, numbers: list[int], features: Tensor) -> None:
        """Keep the features of some inputs; an input whose features are not finite has failed."""
        rows = features.numpy()
        self.features[numbers] = rows
        self._computed += len(numbers)
        if not (finite := np.isfinite(rows)).all():
            failed = [numbers[row] for row in np.flatnonzero(~finite.all(axis=1))]
            self.features[failed] = np.nan
            self.failed |= dict.fromkeys(failed, NOT_FINITE)
            self._computed -= len(failed)


@dataclass(frozen=True, slots=True)
class _Batch:
    unit: Receiver
    numbers: list[int]
    result: Future[Tensor]


class Batches:
    """Inputs in full batches, in order, a bounded number of batches on their way.

    What is lost takes no place in a batch. The last batch of a unit holds no input of the next one.
    """

    def __init__(
        self, runner: BatchRunner, size: int, tick: Callable[[int, int], None], timings: Timings
    ) -> None:
        self._runner, self._size, self._tick, self._timings = runner, size, tick, timings
        self._inputs: list[Tensor] = []
        self._numbers: list[int] = []
        self._sent: deque[_Batch] = deque()

    def add(self, x: Tensor | str, unit: Receiver) -> None:
        """Take the next input of a unit, or why it is lost."""
        number, unit.added = unit.added, unit.added + 1
        if isinstance(x, str):
            unit.failed[number] = x
            return
        self._inputs.append(x)
        self._numbers.append(number)
        if len(self._inputs) == self._size:
            self.flush(unit)

    def flush(self, unit: Receiver) -> None:
        """Send what is there of a unit."""
        if not self._inputs:
            return
        # One that waits keeps every lane busy.
        while len(self._sent) > self._runner.count:
            self._receive()
        result = self._runner.submit(self._inputs)
        self._sent.append(_Batch(unit, self._numbers, result))
        self._inputs, self._numbers = [], []

    def drain(self) -> None:
        """Wait for all that was sent."""
        while self._sent:
            self._receive()

    def _receive(self) -> None:
        batch = self._sent.popleft()
        since = time.perf_counter()
        features = batch.result.result()
        self._timings.add(BACKBONE_WAITED, since)
        batch.unit.take(batch.numbers, features)
        self._tick(len(batch.numbers), 0)
