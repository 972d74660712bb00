"""Changes to a batch of training features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def add_noise(
    features: Tensor, mask: Tensor, amount: float, *, generator: torch.Generator
) -> Tensor:
    """Add Gaussian noise to the valid steps.

    Parameters
    ----------
    features : float tensor (B, T, D)
    mask : bool tensor (B, T)
    amount : float
        Standard deviation of the noise as a share of that of the valid steps of the batch, so
        that one value suits every backbone.
    generator : torch.Generator
        On the device of `features`.

    Returns
    -------
    float tensor (B, T, D)
        Padded steps are returned as they were.
    """
    noise = torch.randn(
        features.shape, generator=generator, device=features.device, dtype=features.dtype
    )
    noisy = features + amount * features[mask].std(correction=0) * noise
    return torch.where(mask[..., None], noisy, features)


def mixup(
    features: Tensor, mask: Tensor, targets: Tensor, alpha: float, *, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix every clip with another one of its batch.

    Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018: one weight a batch,
    drawn from Beta(alpha, alpha).

    Parameters
    ----------
    features : float tensor (B, T, D)
    mask : bool tensor (B, T)
    targets : float tensor (B, C)
        Class masses.
    alpha : float
    rng : numpy.random.Generator

    Returns
    -------
    features : float tensor (B, T, D)
        Zero where a step of either clip is padding.
    mask : bool tensor (B, T)
        The intersection of the two masks: beyond the shorter clip there is nothing to mix with.
    targets : float tensor (B, C)
    """
    share = float(rng.beta(alpha, alpha))
    other = torch.from_numpy(rng.permutation(len(features))).to(features.device)
    mask = mask & mask[other]
    mixed = torch.lerp(features[other], features, share)
    features = torch.where(mask[..., None], mixed, 0.0)
    return features, mask, share * targets + (1 - share) * targets[other]
