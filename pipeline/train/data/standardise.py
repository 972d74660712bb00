"""Standardise features by the mean and standard deviation of the steps that the recipe names.

::

    none        no standardising
    train       all steps of the training clips
    clip        the clip's own steps, which leaves its changes over time
    recording   all steps of the clips of the same video, labels unused
    subject     all steps of the clips of the same subject, labels unused
    causal      the steps of the same video up to the clip's last step, as an observer knows them
                who decides when the clip ends

The last three use unlabelled features of val and test; the report says so. Clips with incomplete
features are ignored. Where clips overlap, each counts its own steps.

With n steps so far, of mean m and mean square q, and the training steps' m0 and q0, causal takes

    mean = (n m + k m0) / (n + k)        var = (n q + k q0) / (n + k) - mean^2        k = 64

as if k steps like those of training came before the recording. In every mode the standard deviation
is at least a hundredth of the training steps' standard deviation, and 1 where both are zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from featstore import InputError, Store
from pipeline.system.device import upload
from pipeline.types import Floats, Floats32, Ints

STANDARDISE = "standardise.safetensors"

How = Literal["none", "train", "clip", "recording", "subject", "causal"]

PRIOR_STEPS = 64
FLOOR = 0.01
BLOCK_STEPS = 256  # fits the cache of a core


@dataclass(frozen=True, slots=True)
class Training:
    """Statistics of the training steps, kept to standardise clips of another store.

    Attributes
    ----------
    mean, std : float64 array (dim,)
    """

    mean: Floats
    std: Floats


@dataclass(frozen=True, slots=True)
class Standardiser:
    """Mean and standard deviation for every clip of a store.

    Attributes
    ----------
    mean, std : float tensor (groups, dim)
    group : int64 tensor (clips,)
        The row of each clip, by position in the store.
    training : Training
    """

    mean: Tensor
    std: Tensor
    group: Tensor
    training: Training

    def __call__(self, features: Tensor, clips: Ints) -> Tensor:
        """Return a batch standardised.

        Parameters
        ----------
        features : float tensor (B, T, D)
            On the device of `mean`. Padded steps become undefined.
        clips : int64 array (B,)
            Positions in the store.

        Returns
        -------
        float tensor (B, T, D)
        """
        rows = self.group[upload(clips, self.group.device)]
        return (features - self.mean[rows][:, None]) / self.std[rows][:, None]


def standardiser(
    store: Store, how: How, train: Ints | Training, *, device: torch.device | str = "cpu"
) -> Standardiser | None:
    """Return the standardiser of a store, measured in one pass over blocks of rows.

    Every group keeps a mean and a deviation in float32. For ``clip`` every clip is a group, for
    ``causal`` nearly every clip. During the pass, float64 sums take twice that memory.

    Parameters
    ----------
    store : Store
    how : {"none", "train", "clip", "recording", "subject", "causal"}
    train : int64 array (n,) or Training
        Positions of the training clips, or the kept statistics if those are in another store.
    device : torch.device or str
        The device of the result.

    Returns
    -------
    Standardiser or None
        None for ``none``.
    """
    if how == "none":
        return None
    kept = train if isinstance(train, Training) else None
    clips = train if isinstance(train, np.ndarray) else np.zeros(0, np.int64)
    shift = kept.mean if kept else store[int(clips[0])][0].astype(np.float64)
    group, segment = _groups(store, how, clips)
    sums, training = _sums(store, segment, int(group.max()) + 1, clips, shift)
    if kept:  # one step represents all
        training = prior_sums(kept, 1)
    if how == "causal":
        videos = np.zeros(len(sums), np.int64)
        videos[group[store.usable]] = store.columns["video"][store.usable]
        for video in np.unique(videos):
            sums[videos == video] = sums[videos == video].cumsum(axis=0)
        sums += training * (PRIOR_STEPS / training[0])
    sums[sums[:, 0] == 0] = training
    mean, std = _mean_and_std(training[None])
    kept_or_measured = kept or Training(mean[0] + shift, std[0])
    means, stds = _tables(sums, kept_or_measured, shift)
    parts = [torch.from_numpy(part).to(device) for part in (means, stds, group)]
    return Standardiser(parts[0], parts[1], parts[2], kept_or_measured)


def step_sums(rows: Floats32, training: Training) -> Floats:
    """Return count, sum and sum of squares of steps minus the training mean, (1 + 2 dim,).

    Parameters
    ----------
    rows : float32 array (steps, dim)
    training : Training
    """
    shifted = rows.astype(np.float64) - training.mean
    return np.concatenate([[len(rows)], shifted.sum(axis=0), (shifted**2).sum(axis=0)])


def prior_sums(training: Training, steps: float = PRIOR_STEPS) -> Floats:
    """Return the sums, as `step_sums` gives them, of steps that vary as those of training did."""
    return np.concatenate([[steps], 0 * training.mean, steps * training.std**2])


def of_sums(sums: Floats, training: Training, *, device: torch.device | str) -> Standardiser:
    """Return the standardiser of clips by the steps that were summed for each.

    Parameters
    ----------
    sums : float64 array (clips, 1 + 2 dim)
        See `step_sums`; a clip without steps is standardised by those of training.
    training : Training
    device : torch.device or str
    """
    filled = np.where(sums[:, :1] > 0, sums, prior_sums(training, 1))
    means, stds = _tables(filled, training, training.mean)
    group = torch.arange(len(sums), device=device)
    parts = [torch.from_numpy(part).to(device) for part in (means, stds)]
    return Standardiser(parts[0], parts[1], group, training)


def read_training(run: Path) -> Training:
    """Read the statistics of the training steps that a run kept.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    try:
        kept = load_file(run / STANDARDISE)
        return Training(kept["mean"].numpy(), kept["std"].numpy())
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{run / STANDARDISE}: cannot be read ({error})") from None


def _groups(store: Store, how: How, train: Ints) -> tuple[Ints, Ints]:
    """Return the group of every clip, and the group that every step counts in, or -1."""
    if how == "causal":
        return _ends(store)
    counted = store.usable
    if how == "train":
        group, counted = np.zeros(len(store), np.int64), train
    else:
        clips = np.arange(len(store))
        names = {"clip": clips, "recording": store.videos, "subject": store.subjects}[how]
        group = np.unique(names, return_inverse=True)[1].astype(np.int64)
    of_clips = np.full(len(store), -1)
    of_clips[counted] = group[counted]
    return group, np.repeat(of_clips, store.row_size)


def _ends(store: Store) -> tuple[Ints, Ints]:
    """Group clips by their last frame; a step counts in the first clip that ends at or after it.

    Groups ascend by video and frame, so their running sums cover all earlier steps.
    """
    frames = store.columns["frame"].astype(np.int64)
    order = np.repeat(store.columns["video"].astype(np.int64), store.row_size)
    order = order * (int(frames.max(initial=0)) + 1) + frames  # ascend by video, then frame
    whole, last = np.zeros(len(store), bool), np.zeros(len(store), np.int64)
    whole[store.usable] = True
    filled = np.flatnonzero(store.row_size)
    last[filled] = np.maximum.reduceat(order, store.offsets[filled])
    ends, group = np.unique(last[whole], return_inverse=True)
    of_clips = np.zeros(len(store), np.int64)
    of_clips[whole] = group
    segment = np.searchsorted(ends, order)
    return of_clips, np.where(np.repeat(whole, store.row_size), segment, -1)


def _sums(
    store: Store, segment: Ints, groups: int, train: Ints, shift: Floats
) -> tuple[Floats, Floats]:
    """Return count, sum and sum of squares of the steps minus `shift`, by group and for training.

    Shapes (groups, 1 + 2 dim) and (1 + 2 dim,).
    """
    by_group, training = np.zeros((groups, 1 + 2 * store.dim)), np.zeros(1 + 2 * store.dim)
    trained = np.zeros(len(store), bool)
    trained[train] = True
    trained_steps = np.repeat(trained, store.row_size)
    keys = 2 * segment + trained_steps
    for first in range(0, len(keys), BLOCK_STEPS):
        block_keys = keys[first : first + BLOCK_STEPS]
        starts = np.flatnonzero(np.diff(block_keys, prepend=block_keys[0] - 1))
        if block_keys.max() < 0:
            continue
        rows = store.rows.span(first, first + len(block_keys)).astype(np.float64)
        rows -= shift
        counts, total = (
            np.diff(starts, append=len(block_keys))[:, None],
            np.add.reduceat(rows, starts),
        )
        rows *= rows
        sums, of = np.hstack([counts, total, np.add.reduceat(rows, starts)]), block_keys[starts]
        np.add.at(by_group, of[of >= 0] // 2, sums[of >= 0])
        training += sums[(of >= 0) & (of % 2 == 1)].sum(axis=0)
    return by_group, training


def _tables(sums: Floats, training: Training, shift: Floats) -> tuple[Floats32, Floats32]:
    """Return mean and standard deviation by group, computed in blocks to save memory."""
    floor = FLOOR * training.std
    mean, std = (np.empty((len(sums), len(shift)), np.float32) for _ in range(2))
    for first in range(0, len(sums), BLOCK_STEPS):
        part = slice(first, first + BLOCK_STEPS)
        means, stds = _mean_and_std(sums[part])
        mean[part], std[part] = means + shift, np.maximum(stds, floor)
    std[std == 0] = 1
    return mean, std


def _mean_and_std(sums: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation (groups, dim); 0 where it is only rounding error."""
    mean, square = np.split(sums[:, 1:] / sums[:, :1], 2, axis=1)
    variance = square - mean**2
    return mean, np.sqrt(np.where(variance > 1e-10 * square, variance, 0))


def write_training(run: Path, training: Training) -> None:
    """Write a run's statistics, to standardise clips of another store later."""
    values = {"mean": torch.from_numpy(training.mean), "std": torch.from_numpy(training.std)}
    (run / STANDARDISE).write_bytes(save(values))
