"""Pooling and a multilayer perceptron."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from models.heads.base import Count, Head, HeadOutput, Share, input_layer
from models.heads.pooling import build_pool


class MlpHead(Head):
    """LayerNorm, pool, hidden layers with ReLU, linear layer.

    Yue-Hei Ng et al., "Beyond short snippets: deep networks for video classification", CVPR 2015,
    section 3.1: frame features pooled over time before fully connected layers.

    Parameters
    ----------
    features, classes : int
        Length of a step's vector, number of classes.
    pool : {"mean", "max", "attention"}
        How the steps of a clip become one vector.
    hidden : int
        Size of a hidden layer.
    layers : int
        Number of hidden layers.
    dropout : float
        After every hidden layer.
    input_norm : bool
        Normalise each step's vector separately before the pool.

    Examples
    --------
    >>> import torch
    >>> MlpHead(8, 3)(torch.zeros(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)).logits.shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        pool: Literal["mean", "max", "attention"] = "mean",
        hidden: Count = 256,
        layers: Count = 1,
        dropout: Share = 0.0,
        input_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm = input_layer(features, norm=input_norm)
        self.pool = build_pool(pool, features)
        sizes = [features, *[hidden] * layers]
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Dropout(dropout))
                for size in sizes[:-1]
            )
        )
        self.classify = nn.Linear(hidden, classes)

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips with zeros as padding."""
        pooled, attention = self.pool(self.norm(steps), mask)
        return HeadOutput(self.classify(self.hidden(pooled)), attention)
