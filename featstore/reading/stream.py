"""Gather ragged clips into batches: padded with a mask, or resampled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore.format.rows import DecodedRows
from featstore.format.shuffle import chunks_of, groups
from featstore.types import Clips

if TYPE_CHECKING:
    from featstore.reading.store import Store

READERS = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of clips.

    Attributes
    ----------
    features : ndarray of float32, shape (clips, steps, dim)
        Padded with zeros after each clip's last step.
    mask : ndarray of bool, shape (clips, steps)
        True for the steps of the clip, False for padding.
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
        Resample every clip to this many evenly spaced steps; by default, clips are padded to the
        longest of the batch. A clip without rows is padding in both cases.
    """
    clips = positions(clips, len(store))
    if steps is not None and steps < 1:
        raise ValueError(f"steps is {steps}; it must be 1 or more")
    firsts, sizes = store.offsets[clips], store.row_size[clips]
    width = int(sizes.max(initial=0)) if steps is None else steps
    if steps is not None:
        mask = np.broadcast_to(sizes[:, None] > 0, (len(clips), width)).copy()
        features = _resampled(store, firsts, sizes, steps)
    else:
        mask = np.arange(width) < sizes[:, None]
        if len(clips) and mask.all():  # one gather is faster than a copy per clip
            features = store.rows.windows(firsts, width).astype(np.float32, copy=False)
        else:
            features = _padded(store, firsts, sizes, width)
    return Batch(features, mask, store.labels[clips], clips)


def positions(clips: Any, count: int) -> Clips:
    """Return clips as positions in a store of `count` clips.

    Parameters
    ----------
    clips : array of int, or of bool with one entry per clip
        Negative positions count from the end.

    Raises
    ------
    TypeError
        If the dtype is neither.
    IndexError
        If a clip is not in the store.

    Examples
    --------
    >>> positions([0, -1], 4).tolist(), positions([True, False, True], 3).tolist()
    ([0, 3], [0, 2])
    """
    selection = np.asarray(clips)
    if selection.dtype == bool:
        if selection.shape != (count,):
            raise IndexError(f"the mask has shape {selection.shape}; the store has {count} clips")
        return np.flatnonzero(selection)
    if selection.size and not np.issubdtype(selection.dtype, np.integer):
        raise TypeError(f"clips are {selection.dtype}; pass positions, or a mask of all clips")
    wrong = selection[(selection < -count) | (selection >= count)]
    if wrong.size:
        raise IndexError(f"clip {wrong[0]} is not in the store, which has {count} clips")
    wrapped: Clips = np.where(selection < 0, selection + count, selection).astype(np.int64)
    return wrapped


def _padded(store: Store, firsts: Clips, sizes: Clips, width: int) -> NDArray[np.float32]:
    features = np.empty((len(firsts), width, store.dim), np.float32)
    span = store.rows.span
    for row, first, size in zip(features, firsts.tolist(), sizes.tolist(), strict=True):
        row[:size] = span(first, first + size)
        row[size:] = 0
    return features


def _resampled(store: Store, firsts: Clips, sizes: Clips, steps: int) -> NDArray[np.float32]:
    """Return clips resampled to `steps` rows; a clip without rows gets zeros."""
    has_rows = sizes > 0
    index = firsts[has_rows, None] + resampled(sizes[has_rows, None], steps)
    features = store.rows.take(index).astype(np.float32, copy=False)
    if has_rows.all():
        return features
    padded = np.zeros((len(sizes), steps, store.dim), np.float32)
    padded[has_rows] = features
    return padded


def resampled(available: int | Clips, steps: int) -> NDArray[np.int64]:
    """Return the indexes of `steps` evenly spaced steps among `available` ones.

    Examples
    --------
    >>> resampled(6, 3).tolist(), resampled(2, 4).tolist()
    ([1, 3, 5], [0, 0, 1, 1])
    """
    return (np.arange(steps) * 2 + 1) * available // (2 * steps)


def stream(
    store: Store,
    batch_size: int,
    seed: int | np.random.Generator | None = None,
    *,
    clips: Clips | None = None,
    probabilities: NDArray[np.float64] | None = None,
    steps: int | None = None,
) -> Iterator[Batch]:
    """Yield one epoch of batches.

    Mapped stores are shuffled fully. Compressed and remote stores that exceed the cache are read
    in random blocks of neighbouring chunks. Each cache-sized group of blocks is shuffled; see
    ``docs/reading.md``.

    Parameters
    ----------
    store : Store
    batch_size : int
        Clips in a batch; the last one may be smaller.
    seed : int or numpy.random.Generator, optional
        Source of the order; without it, clips keep the given order. A generator keeps its state
        between epochs, so each epoch has another order.
    clips : ndarray of int64, shape (n,), optional
        Positions in the store, such as ``store.split("train")``; by default, all usable clips.
    probabilities : ndarray of float64, shape (n,), optional
        Draw n clips with replacement by these weights, instead of each clip once; needs `seed`.
    steps : int, optional
        As in `gather`.

    Raises
    ------
    ValueError
        If `probabilities` has no `seed`, or `batch_size` or `steps` is below 1.
    TypeError, IndexError
        See `positions`.
    """
    for name, value in (("batch_size", batch_size), ("steps", steps)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more")
    if probabilities is not None and seed is None:
        raise ValueError("probabilities need seed; pass a number or a numpy.random.Generator.")
    chosen = store.usable if clips is None else positions(clips, len(store))
    rng = None if seed is None else np.random.default_rng(seed)
    if rng is not None and probabilities is not None:
        chosen = rng.choice(chosen, size=len(chosen), p=probabilities)
    return _batches(store, chosen, batch_size, rng, steps)


def _batches(
    store: Store,
    clips: Clips,
    batch_size: int,
    rng: np.random.Generator | None,
    steps: int | None,
) -> Iterator[Batch]:
    rows = store.rows
    if isinstance(rows, DecodedRows):
        planned = groups(store.layout, clips, rng, rows.chunk_bytes)
        ordered = _read_ahead(store, rows, planned, batch_size)
    else:
        ordered = iter([clips if rng is None else rng.permutation(clips)])
    waiting = np.zeros(0, np.int64)
    for group in ordered:
        waiting = np.concatenate([waiting, group])
        whole = len(waiting) - len(waiting) % batch_size
        for first in range(0, whole, batch_size):
            yield gather(store, waiting[first : first + batch_size], steps)
        waiting = waiting[whole:]
    if len(waiting):
        yield gather(store, waiting, steps)


def _read_ahead(
    store: Store, rows: DecodedRows, planned: list[Clips], batch_size: int
) -> Iterator[Clips]:
    """Yield groups of clips with cached chunks, while the chunks of the next group are read."""
    pool = ThreadPoolExecutor(READERS)
    try:
        ahead = rows.read_ahead(chunks_of(store.layout, planned[0]), pool) if planned else []
        for group, following in zip_longest(planned, planned[1:]):
            chunks = chunks_of(store.layout, group)
            for future in ahead:
                future.result()
            # The first batch holds the last clips of the previous group; reading ahead now would
            # evict their chunks.
            yield group[:batch_size]
            if following is not None:
                ahead = rows.read_ahead(chunks_of(store.layout, following), pool, keep=chunks)
            yield group[batch_size:]
    finally:  # also if the reader stops early
        pool.shutdown(cancel_futures=True)
