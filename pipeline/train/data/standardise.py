"""Features standardised by mean and standard deviation, of which steps the recipe says.

::

    none        features as they are
    train       of all steps of the training clips
    clip        of the clip's own steps, so that what is left is how it changes
    recording   of all steps of the clips of the same video, labels unseen
    subject     of all steps of the clips of the same subject, labels unseen
    causal      of those steps of the same video that are not behind the clip's own last step,
                as an observer knows them who has to decide when the clip ends

The last three look at features of val and test, which have no labels then; a report says so.
Clips whose features are not whole count nowhere. Where clips overlap, each counts its own steps.

With n steps so far, of mean m and mean square q, and the training steps' m0 and q0, causal takes

    mean = (n m + k m0) / (n + k)        var = (n q + k q0) / (n + k) - mean^2        k = 64

as if it had seen k steps like those of training before the recording began. In every mode the
standard deviation is at least a hundredth of the training steps' one, and 1 where both are zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor

from featstore import Store
from pipeline.types import Floats, Ints

STANDARDISE = "standardise.safetensors"

Floats32 = npt.NDArray[np.float32]
How = Literal["none", "train", "clip", "recording", "subject", "causal"]

PRIOR_STEPS = 64
FLOOR = 0.01
BLOCK_STEPS = 256  # stay in the cache of a core


@dataclass(frozen=True, slots=True)
class Training:
    """What is kept of the training steps, to standardise clips of another store.

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
        Which row is whose, by position in the store.
    training : Training
    """

    mean: Tensor
    std: Tensor
    group: Tensor
    training: Training

    def __call__(self, features: Tensor, clips: Ints) -> Tensor:
        """Standardise a batch.

        Parameters
        ----------
        features : float tensor (B, T, D)
            On the device of `mean`. What padded steps hold afterwards is not defined.
        clips : int64 array (B,)
            Positions in the store.

        Returns
        -------
        float tensor (B, T, D)
        """
        rows = self.group[torch.from_numpy(clips).to(self.group.device)]
        return (features - self.mean[rows][:, None]) / self.std[rows][:, None]


def standardiser(
    store: Store, how: How, train: Ints | Training, *, device: torch.device | str = "cpu"
) -> Standardiser | None:
    """Measure the features of a store, in one pass that reads some hundred rows at a time.

    A mean and a deviation in float32 are kept for every group, which for ``clip`` is every clip and
    for ``causal`` nearly; their sums in float64 take twice as much while this measures.

    Parameters
    ----------
    store : Store
    how : {"none", "train", "clip", "recording", "subject", "causal"}
    train : int64 array (n,) or Training
        Positions of the training clips; or, where those are in another store, what was kept.
    device : torch.device or str
        Where the result is to be used.

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
    found, training = _sums(store, segment, int(group.max()) + 1, clips, shift)
    if kept:  # one step stands for all
        training = np.concatenate([[1], 0 * kept.mean, kept.std**2])
    if how == "causal":
        videos = np.zeros(len(found), np.int64)
        videos[group[store.usable]] = store.columns["video"][store.usable]
        for video in np.unique(videos):
            found[videos == video] = found[videos == video].cumsum(axis=0)
        found += training * (PRIOR_STEPS / training[0])
    found[found[:, 0] == 0] = training
    mean, std = _mean_and_std(training[None])
    own = kept or Training(mean[0] + shift, std[0])
    means, stds = _tables(found, own, shift)
    parts = [torch.from_numpy(part).to(device) for part in (means, stds, group)]
    return Standardiser(parts[0], parts[1], parts[2], own)


def _groups(store: Store, how: How, train: Ints) -> tuple[Ints, Ints]:
    """Return the group of every clip, and of every step the one that it counts in, or -1."""
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
    """Group clips by their last frame; a step counts in the first clip to end with it or later.

    Groups ascend by video and frame, so that their running sums hold what was seen before.
    """
    frames = store.columns["frame"].astype(np.int64)
    places = np.repeat(store.columns["video"].astype(np.int64), store.row_size)
    places = places * (int(frames.max(initial=0)) + 1) + frames  # ascend by video, then frame
    whole, last = np.zeros(len(store), bool), np.zeros(len(store), np.int64)
    whole[store.usable] = True
    filled = np.flatnonzero(store.row_size)
    last[filled] = np.maximum.reduceat(places, store.offsets[filled])
    ends, group = np.unique(last[whole], return_inverse=True)
    of_clips = np.zeros(len(store), np.int64)
    of_clips[whole] = group
    segment = np.searchsorted(ends, places)
    return of_clips, np.where(np.repeat(whole, store.row_size), segment, -1)


def _sums(
    store: Store, segment: Ints, groups: int, train: Ints, shift: Floats
) -> tuple[Floats, Floats]:
    """Return count, sum and sum of squares of the steps less `shift`: by group, and of training.

    Shapes (groups, 1 + 2 dim) and (1 + 2 dim,).
    """
    found, training = np.zeros((groups, 1 + 2 * store.dim)), np.zeros(1 + 2 * store.dim)
    trained = np.zeros(len(store), bool)
    trained[train] = True
    learnt = np.repeat(trained, store.row_size)
    keys = 2 * segment + learnt
    for first in range(0, len(keys), BLOCK_STEPS):
        own = keys[first : first + BLOCK_STEPS]
        starts = np.flatnonzero(np.diff(own, prepend=own[0] - 1))
        if own.max() < 0:
            continue
        rows = store.rows.span(first, first + len(own)).astype(np.float64)
        rows -= shift
        counts, total = np.diff(starts, append=len(own))[:, None], np.add.reduceat(rows, starts)
        rows *= rows
        sums, of = np.hstack([counts, total, np.add.reduceat(rows, starts)]), own[starts]
        np.add.at(found, of[of >= 0] // 2, sums[of >= 0])
        training += sums[(of >= 0) & (of % 2 == 1)].sum(axis=0)
    return found, training


def _tables(found: Floats, training: Training, shift: Floats) -> tuple[Floats32, Floats32]:
    """Return mean and standard deviation by group; some groups at a time, to need little memory."""
    floor = FLOOR * training.std
    mean, std = (np.empty((len(found), len(shift)), np.float32) for _ in range(2))
    for first in range(0, len(found), BLOCK_STEPS):
        part = slice(first, first + BLOCK_STEPS)
        means, stds = _mean_and_std(found[part])
        mean[part], std[part] = means + shift, np.maximum(stds, floor)
    std[std == 0] = 1
    return mean, std


def _mean_and_std(sums: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation (groups, dim); 0 where it is nothing but rounding."""
    mean, square = np.split(sums[:, 1:] / sums[:, :1], 2, axis=1)
    variance = square - mean**2
    return mean, np.sqrt(np.where(variance > 1e-10 * square, variance, 0))


def write_training(run: Path, training: Training) -> None:
    """Keep in a run what standardising the clips of another store takes."""
    values = {"mean": torch.from_numpy(training.mean), "std": torch.from_numpy(training.std)}
    (run / STANDARDISE).write_bytes(save(values))
