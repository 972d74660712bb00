"""The order in which clips of a compressed or remote store are read. Pure, no I/O.

Reading one random clip costs a whole chunk. So neighbouring chunks make a block, a few random
blocks make a group that fits in memory, and clips are shuffled within their group. Each epoch cuts
blocks at other places, so that clips which were neighbours in one epoch part in another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featstore.format.layout import Layout

Clips = NDArray[np.int64]
GROUP_BYTES = 256 * 2**20
BLOCK_CHUNKS = 4


def groups(
    layout: Layout, clips: Clips, rng: np.random.Generator | None, chunk_bytes: int
) -> list[Clips]:
    """Cut clips into groups whose chunks fit in memory together.

    Parameters
    ----------
    layout : Layout
    clips : ndarray of int64, shape (n,)
        Positions in the store; may hold one several times.
    rng : numpy.random.Generator or None
        None keeps the order given.
    chunk_bytes : int
        Size of a decoded chunk.

    Returns
    -------
    list of ndarray of int64
        Every entry of `clips` once, shuffled among the blocks of a group.
    """
    most = max(1, GROUP_BYTES // chunk_bytes)
    first, last = _chunks(layout, clips)
    if rng is None:
        return _in_order(clips, first, last, most)
    if layout.steps <= most * layout.chunk_rows or not len(clips):
        return [rng.permutation(clips)]
    # A clip at the end of a block reads on: of a block of n chunks, so many more are read.
    reach = int((last - first).max())
    size = max(1, min(BLOCK_CHUNKS, most - reach))
    together = max(1, most // (size + reach))
    block = (first + rng.integers(size)) // size
    found, which = np.unique(block, return_inverse=True)
    # Where each block comes in a new order decides its clips' group; groups are of equal size.
    count = -(-len(found) // together)
    group = rng.permutation(len(found))[which] * count // len(found)
    ends = np.flatnonzero(np.diff(np.sort(group))) + 1
    parts = np.split(clips[np.argsort(group, kind="stable")], ends)
    return [rng.permutation(part) for part in parts]


def _chunks(layout: Layout, clips: Clips) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last chunk that each clip lies in."""
    # A clip without rows may lie behind the last one.
    first = np.minimum(layout.offsets[clips], max(0, layout.steps - 1)) // layout.chunk_rows
    return first, np.maximum(first, (layout.offsets[clips + 1] - 1) // layout.chunk_rows)


def _in_order(
    clips: Clips, first: NDArray[np.int64], last: NDArray[np.int64], most: int
) -> list[Clips]:
    """Cut clips where their chunks become more than `most`, keeping the order."""
    cuts, seen = [], set[int]()
    for place, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        fresh = [chunk for chunk in range(begin, end + 1) if chunk not in seen]
        if seen and len(seen) + len(fresh) > most:
            cuts.append(place)
            seen = set()
        seen.update(range(begin, end + 1))
    return np.split(clips, cuts)


def chunks_of(layout: Layout, clips: Clips) -> list[int]:
    """Return the numbers of all chunks that hold a row of these clips, in ascending order."""
    first, last = _chunks(layout, clips)
    found = {
        number
        for begin, end in set(zip(first.tolist(), last.tolist(), strict=True))
        for number in range(begin, end + 1)
    }
    return sorted(found)
