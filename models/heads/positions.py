"""Encode the position of a step in its clip as a vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoids(steps: int, size: int, *, like: Tensor) -> Tensor:
    """Return the encoded positions 0, 1, ... of a clip's steps.

    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.5: sines and cosines with
    wavelengths from 2 pi to 10000 * 2 pi. A position's vector does not depend on the number of
    steps.

    Parameters
    ----------
    steps, size : int
    like : tensor
        Determines device and dtype.

    Returns
    -------
    float tensor (steps, size)
        Sines at even indexes, cosines at odd ones.

    Examples
    --------
    >>> sinusoids(2, 4, like=torch.zeros(1)).round(decimals=2).tolist()[0]
    [0.0, 1.0, 0.0, 1.0]
    """
    channels = torch.arange(size, device=like.device)
    rates = torch.exp((channels // 2).to(like.dtype) * (-2 * math.log(10000.0) / size))
    angles = torch.arange(steps, device=like.device)[:, None] * rates
    return torch.where(channels % 2 == 0, angles.sin(), angles.cos())
