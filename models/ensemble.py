"""An ensemble: several heads, and the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from models.heads.base import Head, HeadOutput


class Ensemble(Head):
    """Average the probabilities of heads that were trained separately.

    Parmanto, Munro and Doyle, "Improving committee diagnosis with resampling techniques", NIPS
    1995: committees of networks that learn from other folds. The logits are the logarithm of the
    mean. Attention is averaged over the heads that return it.

    Parameters
    ----------
    heads : sequence of Head

    Examples
    --------
    >>> from models.heads import build_head
    >>> ensemble = Ensemble([build_head("linear", 5, 2) for _ in range(3)])
    >>> output = ensemble(torch.zeros(4, 6, 5), torch.ones(4, 6, dtype=torch.bool))
    >>> output.logits.shape
    torch.Size([4, 2])
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.learns = any(head.learns for head in heads)

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips with zeros as padding."""
        return _mean([cast(Head, head).read(steps, mask, lengths) for head in self.heads])

    def read_whole(self, steps: Tensor) -> HeadOutput:
        """Classify clips without padding."""
        return _mean([cast(Head, head).read_whole(steps) for head in self.heads])


def _mean(outputs: Sequence[HeadOutput]) -> HeadOutput:
    logs = torch.stack([output.logits.log_softmax(dim=1) for output in outputs])
    weights = [output.attention for output in outputs if output.attention is not None]
    return HeadOutput(
        logs.logsumexp(dim=0) - math.log(len(outputs)),
        torch.stack(weights).mean(dim=0) if weights else None,
    )
