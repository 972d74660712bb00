"""Batches of ragged clips: gathered from a store, padded under a mask or resampled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from featstore.store import Store

Clips = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips side by side.

    Attributes
    ----------
    features : ndarray of float32, shape (clips, steps, dim)
        Padded with zeros behind each clip's last step.
    mask : ndarray of bool, shape (clips, steps)
        True where a step is a clip's own; a prefix in every row.
    labels : ndarray of int64, shape (clips,)
    clips : ndarray of int64, shape (clips,)
        Positions in the store.
    """

    features: NDArray[np.float32]
    mask: NDArray[np.bool_]
    labels: NDArray[np.int64]
    clips: Clips


def gather(store: Store, clips: Clips, steps: int | None = None) -> Batch:
    """Gather clips into one batch.

    Parameters
    ----------
    store : Store
    clips : ndarray of int64, shape (n,)
        Positions in the store, in the order of the batch.
    steps : int, optional
        Resample every clip to so many steps, evenly spread over its own; by default clips are
        padded to the longest of the batch.
    """
    sizes = store.row_size[clips]
    width = int(sizes.max(initial=0)) if steps is None else steps
    features = np.zeros((len(clips), width, store.dim), np.float32)
    mask = (
        np.arange(width) < sizes[:, None] if steps is None else np.ones((len(clips), width), bool)
    )
    for row, clip in enumerate(clips):
        rows = store[int(clip)]
        if steps is None:
            features[row, : len(rows)] = rows
        else:
            features[row] = rows[resampled(len(rows), steps)]
    return Batch(features, mask, store.labels[clips], np.asarray(clips, np.int64))


def resampled(available: int, wanted: int) -> NDArray[np.int64]:
    """Return which of `available` steps stand for `wanted` evenly spread ones.

    Examples
    --------
    >>> resampled(6, 3).tolist(), resampled(2, 4).tolist()
    ([1, 3, 5], [0, 0, 1, 1])
    """
    return (np.arange(wanted) * 2 + 1) * available // (2 * wanted)


def stream(
    store: Store,
    clips: Clips,
    *,
    batch_size: int,
    rng: np.random.Generator | None = None,
    probabilities: NDArray[np.float64] | None = None,
    steps: int | None = None,
) -> Iterator[Batch]:
    """Yield one epoch of batches.

    Parameters
    ----------
    store : Store
    clips : ndarray of int64, shape (n,)
        Positions in the store.
    batch_size : int
        Clips in a batch; the last one may be smaller.
    rng : numpy.random.Generator, optional
        Source of the order; without it clips come in the order given.
    probabilities : ndarray of float64, shape (n,), optional
        Draw n clips with replacement by these instead of each once; needs `rng`.
    steps : int, optional
        As in `gather`.

    Raises
    ------
    ValueError
        If `probabilities` come without `rng`, or `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
    if probabilities is not None:
        if rng is None:
            raise ValueError("probabilities need rng, a numpy.random.Generator.")
        clips = rng.choice(clips, size=len(clips), p=probabilities)
    elif rng is not None:
        clips = rng.permutation(clips)
    for first in range(0, len(clips), batch_size):
        yield gather(store, clips[first : first + batch_size], steps)
