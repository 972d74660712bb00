"""Read a store as a PyTorch dataset; the only module of this package that imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from featstore.reading.stream import resampled
from featstore.types import Clips

if TYPE_CHECKING:
    from featstore.reading.store import Store

Item = tuple[Tensor, int]


class TorchDataset(Dataset[Item]):
    """A map-style dataset of (features, label); features are float32 (steps, dim).

    Use it with a ``DataLoader``; `Store.stream` is faster. In a compressed or remote store, each
    random clip decodes a whole chunk, so stream such stores.

    Parameters
    ----------
    store : Store
    clips : ndarray of int64, shape (n,)
        Positions in the store.
    steps : int, optional
        Resample every clip to this many steps.

    Attributes
    ----------
    labels : ndarray of int64, shape (n,)
    """

    def __init__(self, store: Store, clips: Clips, steps: int | None = None) -> None:
        self._store, self._clips, self._steps = store, clips, steps
        self.labels = store.labels[clips]

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> Item:
        rows = self._store[int(self._clips[index])]
        if self._steps is not None and len(rows):
            rows = rows[resampled(len(rows), self._steps)]
        return torch.from_numpy(np.array(rows, np.float32)), int(self.labels[index])

    @staticmethod
    def collate(items: Sequence[Item]) -> tuple[Tensor, Tensor, Tensor]:
        """Return a padded batch: features (n, steps, dim), mask (n, steps), labels (n,)."""
        features = [features for features, _ in items]
        padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        sizes = torch.tensor([len(clip) for clip in features])
        mask = torch.arange(padded.shape[1]) < sizes[:, None]
        return padded, mask, torch.tensor([label for _, label in items])
