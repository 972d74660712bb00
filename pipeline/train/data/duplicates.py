"""Find clips of one part whose features nearly equal those of another part.

The distance of two clips is the cosine distance of their features' means over time. The threshold
is measured: a tenth of the median distance from a training clip to its nearest one, at most `MOST`.
A clip that was encoded again, or cut one frame apart, falls below. Another take of the same person
and action does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featstore import Store
from pipeline.types import Floats32, Ints

MOST_CLIPS = 50_000
MOST_BYTES = 4_000_000_000  # limit of features, which are read once more
SHARE = 0.1  # of the usual distance between neighbours
LEAST, MOST = 1e-6, 1e-3  # float32 cannot resolve smaller distances
_SAMPLE = 512  # training clips that set the threshold
_BATCH = 64  # clips read at once
_CELLS = 4_000_000  # distances held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Pairs of clips across parts that are closer than a threshold.

    Attributes
    ----------
    threshold : float
        Cosine distance.
    clips : int64 array (n,)
        Closest pair first.
    twins : int64 array (n,)
        The nearest clip of the other part for each.
    distances : float32 array (n,)
    """

    threshold: float
    clips: Ints
    twins: Ints
    distances: Floats32


def near_duplicates(
    store: Store, train: Ints, val: Ints, test: Ints
) -> tuple[Duplicates, Duplicates]:
    """Return clips that nearly repeat a training clip or a val clip.

    Parameters
    ----------
    store : Store
    train, val, test : int64 arrays
        Positions of usable clips; `train` and `val` are not empty.

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
    # A single training clip has no neighbour; its distance is infinite.
    threshold = float(np.clip(SHARE * np.median(usual.astype(np.float64)), LEAST, MOST))

    def near(clips: Ints, rows: Floats32, known: Ints, known_rows: Floats32) -> Duplicates:
        distances, twins = nearest(rows, known_rows)
        order = np.flatnonzero(distances < threshold)
        order = order[np.argsort(distances[order], kind="stable")]
        return Duplicates(
            threshold=threshold,
            clips=clips[order],
            twins=known[twins[order]],
            distances=distances[order],
        )

    others, rows = np.concatenate([val, test]), np.concatenate([chosen_by, held_out])
    return near(others, rows, train, learnt), near(test, held_out, val, chosen_by)


def pooled(store: Store, clips: Ints) -> Floats32:
    """Return each clip's mean features over time, scaled to length 1; float32 (n, dim).

    A mean of zero stays zero, which is far from everything. A mean that is not finite becomes zero.
    """
    means = np.zeros((len(clips), store.dim), np.float32)
    row_of = np.empty(len(store), np.int64)
    row_of[clips] = np.arange(len(clips))
    for batch in store.stream(_BATCH, clips=clips):  # reads any store in an efficient order
        steps = batch.mask.sum(axis=1, keepdims=True, dtype=np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            means[row_of[batch.clips]] = batch.features.sum(axis=1) / steps
    means[~np.isfinite(means).all(axis=1)] = 0
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    np.divide(means, norms, out=means, where=norms > 0)
    return means


def nearest(
    queries: Floats32, known: Floats32, *, leave_out: Ints | None = None
) -> tuple[Floats32, Ints]:
    """Return each query's nearest neighbour by cosine distance, in blocks of bounded memory.

    Parameters
    ----------
    queries, known : float32 arrays (n, dim), (m, dim)
        Rows of length 1.
    leave_out : int64 array (n,), optional
        For each query, a position in `known` to skip, such as the query itself.

    Returns
    -------
    distances : float32 array (n,)
        Infinite if no neighbour is left.
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
