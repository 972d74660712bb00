"""Changes to a batch of training features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.train.recipes.fields import Augment
from pipeline.types import Ints


def change_time(
    features: Tensor, mask: Tensor, options: Augment, *, spread: bool, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Crop, stride, drop and reverse clips as a recipe asks for.

    Parameters
    ----------
    features : float tensor (B, T, D)
    mask : bool tensor (B, T)
    options : Augment
    spread : bool
        As in `take_steps`: whether clips are resampled.
    rng : numpy.random.Generator

    Returns
    -------
    features, mask
        As they were, where nothing is asked for.
    """
    chosen = options.model_dump(include={"crop", "stride", "drop", "reverse"})
    if chosen == Augment().model_dump(include=set(chosen)):
        return features, mask
    lengths = mask.sum(dim=1).cpu().numpy()
    index, counts = choose_steps(lengths, mask.shape[1], **chosen, rng=rng)
    return take_steps(features, index, counts, spread=spread)


def choose_steps(
    lengths: Ints,
    width: int,
    *,
    crop: float = 1.0,
    stride: int = 1,
    drop: float = 0.0,
    reverse: float = 0.0,
    rng: np.random.Generator,
) -> tuple[Ints, Ints]:
    """Draw which steps of every clip are kept, in which order.

    Of n steps a clip keeps a run of max(1, round(n u)), with u from [crop, 1) and the place of the
    run uniform; of the run every s-th step from a random one of its first s on, with s from 1 to
    `stride`; of those each with probability 1 - `drop`, and one where none would stay. A share of
    `reverse` of the clips is turned round.

    Parameters
    ----------
    lengths : int64 array (B,)
        Valid steps of each clip, which come first.
    width : int
        Steps of the batch, padding included.
    crop : float
    stride : int
    drop, reverse : float
    rng : numpy.random.Generator
        What is drawn does not depend on which of the options are in use.

    Returns
    -------
    index : int64 array (B, width)
        The kept steps of each clip first; what follows are others of its steps.
    counts : int64 array (B,)
        How many steps each clip keeps.

    Examples
    --------
    >>> index, counts = choose_steps(np.array([4]), 4, reverse=1.0, rng=np.random.default_rng(0))
    >>> index.tolist(), counts.tolist()
    ([[3, 2, 1, 0]], [4])
    """
    clips = len(lengths)
    share, place, pace, phase, turn = rng.random((5, clips))
    chance = rng.random((clips, width))
    size = np.maximum(1, np.rint(lengths * (crop + (1 - crop) * share))).astype(np.int64)
    pace = np.minimum(1 + (pace * stride).astype(np.int64), size)
    first = (place * (lengths - size + 1)).astype(np.int64)
    begin, end = first + (phase * pace).astype(np.int64), first + size
    steps = np.arange(width)
    kept = (steps >= begin[:, None]) & (steps < end[:, None])
    kept &= (steps - begin[:, None]) % pace[:, None] == 0
    spared = np.where(kept, chance, -1).argmax(axis=1)
    kept &= chance >= drop
    kept[np.arange(clips), spared] = True
    counts = kept.sum(axis=1)
    index = np.argsort(~kept, axis=1, kind="stable")
    turned = np.where(steps < counts[:, None], counts[:, None] - 1 - steps, steps)
    backward = np.take_along_axis(index, turned, axis=1)
    return np.where((turn < reverse)[:, None], backward, index), counts


def take_steps(
    features: Tensor, index: Ints, counts: Ints, *, spread: bool
) -> tuple[Tensor, Tensor]:
    """Put the steps that `choose_steps` drew side by side.

    Parameters
    ----------
    features : float tensor (B, T, D)
    index : int64 array (B, T)
    counts : int64 array (B,)
    spread : bool
        Repeat steps so that each clip fills all T evenly, as resampled clips do; else clips get
        shorter.

    Returns
    -------
    features : float tensor (B, T or max(counts), D)
        Zero at padded steps.
    mask : bool tensor (B, T or max(counts))
    """
    width = index.shape[1] if spread else int(counts.max())
    if spread:
        places = (2 * np.arange(width) + 1) * counts[:, None] // (2 * width)
        index, counts = np.take_along_axis(index, places, axis=1), np.full_like(counts, width)
    mask = torch.from_numpy(np.arange(width) < counts[:, None]).to(features.device)
    rows = torch.arange(len(features), device=features.device)[:, None]
    taken = features[rows, torch.from_numpy(index[:, :width].copy()).to(features.device)]
    return taken.masked_fill(~mask[..., None], 0.0), mask


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
