"""Inputs of the backbone, collected into full batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Batches:
    """Inputs in full batches, in order; what is lost takes no place in one."""

    def __init__(
        self,
        size: int,
        forward: Callable[[list[Tensor]], Tensor],
        tick: Callable[[int, int], None],
    ) -> None:
        self._size, self._forward, self._tick = size, forward, tick
        self._pending: list[Tensor] = []
        self._features: list[Tensor] = []
        self._whole: list[int] = []
        self._failed: dict[int, str] = {}

    def add(self, x: Tensor | str) -> None:
        """Take the next input, or why it is lost."""
        number = len(self._whole) + len(self._failed)
        if isinstance(x, str):
            self._failed[number] = x
            return
        self._whole.append(number)
        self._pending.append(x)
        if len(self._pending) == self._size:
            self._run()

    def finish(self, dim: int) -> tuple[NDArray[np.float32], dict[int, str]]:
        """Return the features of all inputs, NaN where one is lost, and why by number."""
        if self._pending:
            self._run()
        features = np.full((len(self._whole) + len(self._failed), dim), np.nan, np.float32)
        if self._whole:
            features[self._whole] = torch.cat(self._features).numpy()
        return features, self._failed

    def _run(self) -> None:
        self._features.append(self._forward(self._pending))
        self._tick(len(self._pending), 0)
        self._pending = []
