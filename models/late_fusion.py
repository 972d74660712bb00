"""Late fusion: one head per source of features, and the mean of their logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from models.heads.base import Head, HeadOutput


class LateFusion(Head):
    """Average the logits of several heads, each with a separate part of the features.

    Snoek et al., "Early versus late fusion in semantic video analysis", ACM Multimedia 2005, with
    heads that are trained together. Attention is averaged too, if the heads return it.

    Parameters
    ----------
    heads : sequence of Head
    sizes : sequence of int
        Number of features of each head, in order.

    Examples
    --------
    >>> from models.heads import build_head
    >>> late = LateFusion([build_head("linear", 5, 2), build_head("linear", 3, 2)], [5, 3])
    >>> late(torch.zeros(4, 6, 8), torch.ones(4, 6, dtype=torch.bool)).logits.shape
    torch.Size([4, 2])
    """

    def __init__(self, heads: Sequence[Head], sizes: Sequence[int]) -> None:
        super().__init__()
        self.heads, self.sizes = nn.ModuleList(heads), list(sizes)
        self.learns = all(head.learns for head in heads)

    def remember(self, pooled: Tensor, labels: Tensor) -> None:
        """Take the training clips, averaged over time (n, D), and their labels (n,)."""
        for head, part in zip(self.heads, torch.split(pooled, self.sizes, dim=1), strict=True):
            cast(Head, head).remember(part, labels)

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips with zeros as padding."""
        parts = zip(self.heads, torch.split(steps, self.sizes, dim=2), strict=True)
        outputs = [cast(Head, head).read(part, mask, lengths) for head, part in parts]
        logits = torch.stack([output.logits for output in outputs]).mean(dim=0)
        weights = [output.attention for output in outputs if output.attention is not None]
        return HeadOutput(logits, torch.stack(weights).mean(dim=0) if weights else None)
