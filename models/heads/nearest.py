"""Classify by distance, without training: the nearest class mean, or the nearest clips."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from models.heads.base import Count, Head, HeadOutput
from models.heads.pooling import MeanPool

_SCALE = 10.0  # of logits; squared distances of vectors of length 1 are 4 at most
_NEVER = 8.0  # squared distance of a class without training clips


class NearestHead(Head):
    """Mean over time, less the mean of the training clips, at length 1; then the nearest.

    Wang et al., "SimpleShot: revisiting nearest-neighbor classification for few-shot learning",
    2019. Class means: Mensink et al., "Distance-based image classification", TPAMI 2013.

    Parameters
    ----------
    features, classes : int
        Length of a step's vector, number of classes.
    neighbours : int or None
        How many of the nearest training clips vote; None takes the nearest class mean.

    Examples
    --------
    >>> head = NearestHead(2, 3, neighbours=1)
    >>> head.remember(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([2, 0]))
    >>> steps = torch.tensor([[[0.1, 0.8]], [[0.7, 0.0]]])
    >>> head(steps, torch.ones(2, 1, dtype=torch.bool)).logits.argmax(1).tolist()
    [2, 0]
    """

    learns = False
    centre: Tensor
    known: Tensor
    labels: Tensor

    def __init__(self, features: int, classes: int, *, neighbours: Count | None = None) -> None:
        super().__init__()
        self.classes, self.neighbours, self.pool = classes, neighbours, MeanPool()
        self.scale = nn.Parameter(torch.tensor(_SCALE if neighbours is None else 1.0))
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("known", torch.zeros(1, features))
        self.register_buffer("labels", torch.zeros(1, dtype=torch.int64))

    def remember(self, pooled: Tensor, labels: Tensor) -> None:
        """Keep the training clips, or the means of their classes.

        Parameters
        ----------
        pooled : float tensor (n, D)
            Training clips, averaged over time.
        labels : int64 tensor (n,)
        """
        self.centre = pooled.mean(dim=0)
        clips = normalize(pooled - self.centre, dim=1)
        if self.neighbours is not None:
            self.known, self.labels = clips, labels
            return
        self.labels = torch.unique(labels)
        self.known = torch.stack([clips[labels == one].mean(dim=0) for one in self.labels])

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips whose padded steps are zero."""
        pooled = self.pool(steps, mask)[0]
        units = normalize(pooled - self.centre, dim=1)
        squares = units.square().sum(dim=1, keepdim=True) + self.known.square().sum(dim=1)
        squares = squares - 2 * units @ self.known.T
        if self.neighbours is None:
            every = torch.full_like(units[:, :1], _NEVER).repeat(1, self.classes)
            return HeadOutput(-self.scale * every.index_copy(1, self.labels, squares), None)
        count = min(self.neighbours, len(self.known))
        nearest = squares.topk(count, dim=1, largest=False).indices
        votes = one_hot(self.labels[nearest], self.classes).sum(dim=1)
        shares = (votes + 1 / self.classes) / (count + 1)
        return HeadOutput(self.scale * shares.to(units).log(), None)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take as many clips or classes as a file has."""
        for name in ("known", "labels"):
            if (tensor := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_empty(tensor.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)
