"""Pool the vectors of a clip's valid steps into one vector."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

PoolName = Literal["last", "mean", "max", "attention"]


def valid_lengths(mask: Tensor) -> Tensor:
    """Return the number of valid steps of every clip.

    Parameters
    ----------
    mask : bool tensor (B, T)
        True at valid steps, which come first.

    Returns
    -------
    int64 tensor (B,)

    Raises
    ------
    ValueError
        If a clip has no valid step, or its valid steps are not a prefix.

    Examples
    --------
    >>> valid_lengths(torch.tensor([[True, True, False], [True, False, False]])).tolist()
    [2, 1]
    """
    lengths = mask.sum(dim=1)
    prefix = torch.arange(mask.shape[1], device=mask.device) < lengths[:, None]
    if not torch.equal(prefix, mask) or not bool((lengths > 0).all()):
        raise ValueError("mask: every clip needs a valid step, and its valid steps come first")
    return lengths


def blank(steps: Tensor, mask: Tensor) -> Tensor:
    """Return steps (B, T, D) with zeros as padding, even where the padding was NaN."""
    return steps.masked_fill(~mask[..., None], 0.0)


class Pool(nn.Module):
    """Base of the pools: map steps (B, T, H) and mask (B, T) to one vector per clip (B, H).

    `forward` returns the pooled vectors and the weights of steps (B, T), or None without weights.
    """

    def forward(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pool `steps` over their valid part."""
        raise NotImplementedError


class LastPool(Pool):
    """The final state of the recurrence: the last valid step forward, the first one backward.

    The last step of both directions, a common choice, would read a backward state that has seen
    only one step.
    """

    def __init__(self, *, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional

    def forward(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take the final state of every direction."""
        rows = torch.arange(len(steps), device=steps.device)
        last = steps[rows, mask.sum(dim=1) - 1]
        if not self.bidirectional:
            return last, None
        half = steps.shape[2] // 2
        return torch.cat([last[:, :half], steps[:, 0, half:]], dim=1), None


class MeanPool(Pool):
    """The mean over the valid steps."""

    def forward(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Average the valid steps."""
        return blank(steps, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True), None


class MaxPool(Pool):
    """The largest value of each feature over the valid steps."""

    def forward(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take the maximum over the valid steps."""
        return steps.masked_fill(~mask[..., None], -torch.inf).amax(dim=1), None


class AttentionPool(Pool):
    """A mean with learnt weights: softmax over ``v . tanh(W h + b)``.

    Yang et al., "Hierarchical attention networks for document classification", NAACL 2016,
    equations 5 to 7.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, size)
        self.score = nn.Linear(size, 1, bias=False)

    def forward(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Average the valid steps by their weights; the weights (B, T) sum to one per clip."""
        steps = blank(steps, mask)
        scores: Tensor = self.score(torch.tanh(self.project(steps))).squeeze(2)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
        return (weights[..., None] * steps).sum(dim=1), weights


def build_pool(name: PoolName, size: int, *, bidirectional: bool = False) -> Pool:
    """Return a new pool by name.

    Parameters
    ----------
    name : {"last", "mean", "max", "attention"}
    size : int
        Length of a step's vector, both directions together.
    bidirectional : bool
        Whether the second half of that vector runs backwards in time.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    match name:
        case "last":
            return LastPool(bidirectional=bidirectional)
        case "mean":
            return MeanPool()
        case "max":
            return MaxPool()
        case "attention":
            return AttentionPool(size)
    raise ValueError(f"pool {name!r} is unknown; choose from {', '.join(get_args(PoolName))}")
