"""Resizing in float32 with antialiasing, as torch does it."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.build.plan.options import Resample

PART = 2048  # columns of the weights made at once


def resize(values: Tensor, height: int, width: int, mode: Resample = "bilinear") -> Tensor:
    """Resize pictures, each for itself.

    On a CPU every row of the result is a weighted sum of rows, and then every column one of
    columns: the weights are those of `torch.nn.functional.interpolate`, whose own loops there take
    twice as long and push more out of the caches.

    Parameters
    ----------
    values : Tensor of float32, shape (frames, channels, old height, old width)
    height, width : int
    mode : {"bilinear", "bicubic"}
        Bicubic values may exceed the old ones.

    Returns
    -------
    Tensor of float32, shape (frames, channels, height, width)
    """
    if values.device.type != "cpu":
        return _interpolated(values, height, width, mode)
    return _sums_of_rows(_sums_of_rows(values, height, mode).mT, width, mode).mT


def _sums_of_rows(values: Tensor, rows: int, mode: Resample) -> Tensor:
    """Resize along the last dimension but one."""
    *pictures, old, columns = values.shape
    taken, first, weights = _weights(old, rows, math.prod(pictures), mode)
    table = values.contiguous().view(-1, columns)
    sums = functional.embedding_bag(taken, table, first, mode="sum", per_sample_weights=weights)
    return sums.view(*pictures, rows, columns)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _weights(old: int, new: int, pictures: int, mode: Resample) -> tuple[Tensor, Tensor, Tensor]:
    """Return which of the old rows the new ones are made of, where each begins, and weights."""
    # In parts, for the square of a large side fills the memory.
    count = -(-old // PART)
    bounds = [old * part // count for part in range(count + 1)]
    identity = (
        torch.eye(old, end - begin, dtype=torch.float64).roll(begin, 0)
        for begin, end in pairwise(bounds)
    )
    parts = [
        _interpolated(block[None, None], new, block.shape[1], mode)[0, 0].float()
        for block in identity
    ]
    matrix = torch.cat(parts, 1).repeat(pictures, 1)
    row, taken = matrix.nonzero(as_tuple=True)
    first = torch.searchsorted(row, torch.arange(len(matrix)))
    return taken + row // new * old, first, matrix[row, taken]


def _interpolated(values: Tensor, height: int, width: int, mode: Resample) -> Tensor:
    return functional.interpolate(
        values, (height, width), mode=mode, align_corners=False, antialias=True
    )
