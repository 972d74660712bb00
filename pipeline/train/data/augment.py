"""Augmentation of a batch of training features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.system.device import upload
from pipeline.train.recipes.fields import Augment
from pipeline.types import Ints


def change_time(
    features: Tensor, mask: Tensor, options: Augment, *, spread: bool, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return clips cropped, strided, dropped and reversed by the recipe's options.

    Parameters
    ----------
    features : float tensor (B, T, D)
    mask : bool tensor (B, T)
        On the CPU, like the mask of the result.
    options : Augment
    spread : bool
        Whether clips are resampled; see `take_steps`.
    rng : numpy.random.Generator

    Returns
    -------
    features, mask
        Unchanged if no option is set.
    """
    chosen = options.model_dump(include={"crop", "stride", "drop", "reverse"})
    if chosen == Augment().model_dump(include=set(chosen)):
        return features, mask
    lengths = mask.sum(dim=1).numpy()
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
    """Draw the kept steps of every clip and their order.

    A clip of n steps is cropped to max(1, round(n u)) steps at a uniform position, with u from
    [crop, 1). Within the crop every s-th step is kept, from a random one of its first s, with s
    from 1 to `stride`. Each of these is kept with probability 1 - `drop`, and at least one is kept.
    A share of `reverse` of the clips is reversed.

    Parameters
    ----------
    lengths : int64 array (B,)
        Number of valid steps of each clip; they come first.
    width : int
        Steps of the batch, padding included.
    crop : float
    stride : int
    drop, reverse : float
    rng : numpy.random.Generator
        Its draws do not depend on the options in use.

    Returns
    -------
    index : int64 array (B, width)
        The kept steps of each clip first, then its other steps.
    counts : int64 array (B,)
        Number of kept steps of each clip.

    Examples
    --------
    >>> index, counts = choose_steps(np.array([4]), 4, reverse=1.0, rng=np.random.default_rng(0))
    >>> index.tolist(), counts.tolist()
    ([[3, 2, 1, 0]], [4])
    """
    clips = len(lengths)
    share, start, pace, phase, turn = rng.random((5, clips))
    chance = rng.random((clips, width))
    size = np.maximum(1, np.rint(lengths * (crop + (1 - crop) * share))).astype(np.int64)
    pace = np.minimum(1 + (pace * stride).astype(np.int64), size)
    first = (start * (lengths - size + 1)).astype(np.int64)
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
    """Return the features of the steps drawn by `choose_steps`.

    Parameters
    ----------
    features : float tensor (B, T, D)
    index : int64 array (B, T)
    counts : int64 array (B,)
    spread : bool
        Repeat steps so that each clip fills all T evenly, as resampled clips do. If false, clips
        get shorter.

    Returns
    -------
    features : float tensor (B, T or max(counts), D)
        Zero at padded steps.
    mask : bool tensor (B, T or max(counts))
        On the CPU.
    """
    width = index.shape[1] if spread else int(counts.max())
    if spread:
        positions = (2 * np.arange(width) + 1) * counts[:, None] // (2 * width)
        index, counts = np.take_along_axis(index, positions, axis=1), np.full_like(counts, width)
    valid = np.arange(width) < counts[:, None]
    rows = torch.arange(len(features), device=features.device)[:, None]
    taken = features[rows, upload(index[:, :width].copy(), features.device)]
    padded = upload(~valid[..., None], features.device)
    return taken.masked_fill(padded, 0.0), torch.from_numpy(valid)


def valid_steps(features: Tensor, mask: Tensor) -> Tensor:
    """Return the valid steps of all clips, concatenated.

    Parameters
    ----------
    features : float tensor (B, T, D)
        On any device; a GPU is not waited for.
    mask : bool tensor (B, T)
        On the CPU.

    Returns
    -------
    float tensor (steps, D)
    """
    steps = features.flatten(0, 1)
    if mask.all():
        return steps
    return steps.index_select(0, upload(mask.flatten().nonzero()[:, 0].numpy(), features.device))


def add_noise(
    features: Tensor, mask: Tensor, amount: float, *, generator: torch.Generator
) -> Tensor:
    """Return the features with Gaussian noise on the valid steps.

    Parameters
    ----------
    features : float tensor (B, T, D)
    mask : bool tensor (B, T)
        On the CPU.
    amount : float
        Standard deviation of the noise, as a share of the standard deviation of the batch's valid
        steps, so one value suits every backbone.
    generator : torch.Generator
        On the device of `features`.

    Returns
    -------
    float tensor (B, T, D)
        Padded steps are unchanged.
    """
    noise = torch.randn(
        features.shape, generator=generator, device=features.device, dtype=features.dtype
    )
    noisy = features + amount * valid_steps(features, mask).std(correction=0) * noise
    return torch.where(upload(mask[..., None].numpy(), features.device), noisy, features)


def mixup(
    features: Tensor, mask: Tensor, targets: Tensor, alpha: float, *, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return every clip mixed with another one of its batch.

    Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018, with one weight per
    batch from Beta(alpha, alpha).

    Parameters
    ----------
    features : float tensor (B, T, D)
    mask : bool tensor (B, T)
        On the CPU.
    targets : float tensor (B, C)
        Class masses.
    alpha : float
    rng : numpy.random.Generator

    Returns
    -------
    features : float tensor (B, T, D)
        Zero where either clip is padded.
    mask : bool tensor (B, T)
        The intersection of the two masks, so the length of the shorter clip. On the CPU.
    targets : float tensor (B, C)
    """
    share = float(rng.beta(alpha, alpha))
    order = rng.permutation(len(features))
    mask, other = mask & mask[order], upload(order, features.device)
    mixed = torch.lerp(features[other], features, share)
    features = torch.where(upload(mask[..., None].numpy(), features.device), mixed, 0.0)
    return features, mask, share * targets + (1 - share) * targets[other]
