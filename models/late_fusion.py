"""A head for each of several sources of features, and the mean of what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from models.heads.base import Head, HeadOutput


class LateFusion(Head):
    """Heads that each see their own part of every step's vector; their logits are averaged.

    Snoek et al., "Early versus late fusion in semantic video analysis", ACM Multimedia 2005, with
    heads that are trained together. Where the heads attend, attention is averaged too.

    Parameters
    ----------
    heads : sequence of Head
    sizes : sequence of int
        How many of the features belong to each head, in their order.

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

    def read(self, steps: Tensor, mask: Tensor) -> HeadOutput:
        """Classify clips whose padded steps are zero."""
        parts = zip(self.heads, torch.split(steps, self.sizes, dim=2), strict=True)
        outputs = [cast(Head, head).read(own, mask) for head, own in parts]
        logits = torch.stack([output.logits for output in outputs]).mean(dim=0)
        weights = [output.attention for output in outputs if output.attention is not None]
        return HeadOutput(logits, torch.stack(weights).mean(dim=0) if weights else None)
