"""Clips of one part that are, by their features, all but clips of another.

Two clips are compared by the cosine distance of their features' means over time. What counts as
near is measured: a tenth of the distance that is usual from a training clip to its nearest one, and
never more than `MOST`. A clip encoded again, or cut a frame apart, falls below; another take of the
same person and action does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from featstore import Store
from pipeline.types import Ints

Floats = npt.NDArray[np.float32]

MOST_CLIPS = 50_000
MOST_BYTES = 4_000_000_000  # of features, which have to be read once more
SHARE = 0.1  # of the usual distance between neighbours
LEAST, MOST = 1e-6, 1e-3  # float32 tells no smaller distances apart
_SAMPLE = 512  # training clips that say what is usual
_BATCH = 64  # clips that are read at once
_CELLS = 4_000_000  # distances that are held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Pairs of clips across parts that lie nearer than a threshold.

    Attributes
    ----------
    threshold : float
        Cosine distance.
    clips : int64 array (n,)
        Nearest pair first.
    twins : int64 array (n,)
        The clip of the other part that is nearest to each.
    distances : float32 array (n,)
    """

    threshold: float
    clips: Ints
    twins: Ints
    distances: Floats


def near_duplicates(
    store: Store, train: Ints, val: Ints, test: Ints
) -> tuple[Duplicates, Duplicates]:
    """Find clips that nearly repeat one that training learns from or chooses by.

    Parameters
    ----------
    store : Store
    train, val, test : int64 arrays
        Positions of usable clips; `train` and `val` have some.

    Returns
    -------
    of_train : Duplicates
        Clips of val and test that repeat a training clip.
    of_val : Duplicates
        Clips of test that repeat a val clip.
    """
    learnt, chosen_by, held_out = (pooled(store, clips) for clips in (train, val, test))
    sample = np.unique(np.linspace(0, len(train) - 1, min(_SAMPLE, len(train))).astype(np.int64))
    usual, _ = nearest(learnt[sample], learnt, leave_out=sample)
    # One training clip has no neighbour, and its distance to one is infinite.
    threshold = float(np.clip(SHARE * np.median(usual.astype(np.float64)), LEAST, MOST))

    def near(clips: Ints, rows: Floats, known: Ints, known_rows: Floats) -> Duplicates:
        distances, twins = nearest(rows, known_rows)
        found = np.flatnonzero(distances < threshold)
        found = found[np.argsort(distances[found], kind="stable")]
        return Duplicates(
            threshold=threshold,
            clips=clips[found],
            twins=known[twins[found]],
            distances=distances[found],
        )

    others, rows = np.concatenate([val, test]), np.concatenate([chosen_by, held_out])
    return near(others, rows, train, learnt), near(test, held_out, val, chosen_by)


def pooled(store: Store, clips: Ints) -> Floats:
    """Average each clip's features over time, at length 1; float32 (n, dim).

    A mean of zero stays zero, as far from everything as can be; so is one that is not finite.
    """
    means = np.zeros((len(clips), store.dim), np.float32)
    place = np.empty(len(store), np.int64)
    place[clips] = np.arange(len(clips))
    for batch in store.stream(_BATCH, clips=clips):  # reads stores of any kind in a good order
        steps = batch.mask.sum(axis=1, keepdims=True, dtype=np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            means[place[batch.clips]] = batch.features.sum(axis=1) / steps
    means[~np.isfinite(means).all(axis=1)] = 0
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    np.divide(means, norms, out=means, where=norms > 0)
    return means


def nearest(
    queries: Floats, known: Floats, *, leave_out: Ints | None = None
) -> tuple[Floats, Ints]:
    """Find each query's nearest neighbour by cosine distance, in blocks of bounded memory.

    Parameters
    ----------
    queries, known : float32 arrays (n, dim), (m, dim)
        At length 1.
    leave_out : int64 array (n,), optional
        For each query, a position in `known` that is not its neighbour: itself.

    Returns
    -------
    distances : float32 array (n,)
        Infinite where nothing is left.
    positions : int64 array (n,)
    """
    distances = np.empty(len(queries), np.float32)
    positions = np.empty(len(queries), np.int64)
    block = max(1, _CELLS // len(known))
    for first in range(0, len(queries), block):
        part = slice(first, first + block)
        apart = 1 - queries[part] @ known.T
        if leave_out is not None:
            apart[np.arange(len(apart)), leave_out[part]] = np.inf
        positions[part] = apart.argmin(axis=1)
        distances[part] = apart[np.arange(len(apart)), positions[part]]
    return distances, positions
