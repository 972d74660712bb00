"""Where a step stands in its clip, as a vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoids(steps: int, size: int, *, like: Tensor) -> Tensor:
    """Encode the positions 0, 1, ... of a clip's steps.

    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.5: sines and cosines whose
    wavelengths rise from 2 pi to 10000 * 2 pi. A position's vector does not depend on how many
    steps there are.

    Parameters
    ----------
    steps, size : int
    like : tensor
        Gives device and dtype.

    Returns
    -------
    float tensor (steps, size)
        Sines at even places, cosines at odd ones.

    Examples
    --------
    >>> sinusoids(2, 4, like=torch.zeros(1)).round(decimals=2).tolist()[0]
    [0.0, 1.0, 0.0, 1.0]
    """
    places = torch.arange(size, device=like.device)
    rates = torch.exp((places // 2).to(like.dtype) * (-2 * math.log(10000.0) / size))
    angles = torch.arange(steps, device=like.device)[:, None] * rates
    return torch.where(places % 2 == 0, angles.sin(), angles.cos())
