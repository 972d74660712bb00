"""Pooling and a linear layer; ignores the order of steps."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from models.heads.base import Head, HeadOutput, Share, input_layer
from models.heads.pooling import build_pool


class LinearHead(Head):
    """LayerNorm, pool, linear layer.

    Abu-El-Haija et al., "YouTube-8M: a large-scale video classification benchmark", 2016
    (arXiv:1609.08675), section 5: averaged frame features and one linear classifier.

    Parameters
    ----------
    features, classes : int
        Length of a step's vector, number of classes.
    pool : {"mean", "max", "attention"}
        How the steps of a clip become one vector.
    dropout : float
        Before the linear layer.
    input_norm : bool
        Normalise each step's vector separately before the pool.

    Examples
    --------
    >>> import torch
    >>> LinearHead(8, 3)(torch.zeros(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)).logits.shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        pool: Literal["mean", "max", "attention"] = "mean",
        dropout: Share = 0.0,
        input_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm = input_layer(features, norm=input_norm)
        self.pool = build_pool(pool, features)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(features, classes)

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips with zeros as padding."""
        pooled, attention = self.pool(self.norm(steps), mask)
        return HeadOutput(self.classify(self.dropout(pooled)), attention)
