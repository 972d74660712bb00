"""Choose the order in which to read clips of a compressed or remote store. Pure, no I/O.

Reading one random clip decodes a whole chunk. So neighbouring chunks form a block, a few random
blocks form a group that fits in memory, and clips are shuffled within their group. The block
boundaries differ between epochs, so that neighbouring clips get separated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featstore.format.layout import Layout
from featstore.types import Clips

GROUP_BYTES = 256 * 2**20
BLOCK_CHUNKS = 4


def groups(
    layout: Layout, clips: Clips, rng: np.random.Generator | None, chunk_bytes: int
) -> list[Clips]:
    """Split clips into groups; the chunks of a group fit in memory.

    Parameters
    ----------
    layout : Layout
    clips : ndarray of int64, shape (n,)
        Positions in the store; repeats are allowed.
    rng : numpy.random.Generator or None
        None keeps the order of `clips`.
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
    # A clip that straddles a block's end also needs the chunks after it.
    reach = int((last - first).max())
    size = max(1, min(BLOCK_CHUNKS, most - reach))
    together = max(1, most // (size + reach))
    block = (first + rng.integers(size)) // size
    blocks, which = np.unique(block, return_inverse=True)
    # The shuffled order of blocks decides their group; groups are of equal size.
    count = -(-len(blocks) // together)
    group = rng.permutation(len(blocks))[which] * count // len(blocks)
    ends = np.flatnonzero(np.diff(np.sort(group))) + 1
    parts = np.split(clips[np.argsort(group, kind="stable")], ends)
    return [rng.permutation(part) for part in parts]


def _chunks(layout: Layout, clips: Clips) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last chunk of each clip."""
    # A clip without rows may be after the last chunk.
    first = np.minimum(layout.offsets[clips], max(0, layout.steps - 1)) // layout.chunk_rows
    return first, np.maximum(first, (layout.offsets[clips + 1] - 1) // layout.chunk_rows)


def _in_order(
    clips: Clips, first: NDArray[np.int64], last: NDArray[np.int64], most: int
) -> list[Clips]:
    """Split clips in order, so that each group has at most `most` chunks."""
    cuts, seen = [], set[int]()
    for position, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        fresh = [chunk for chunk in range(begin, end + 1) if chunk not in seen]
        if seen and len(seen) + len(fresh) > most:
            cuts.append(position)
            seen = set()
        seen.update(range(begin, end + 1))
    return np.split(clips, cuts)


def chunks_of(layout: Layout, clips: Clips) -> list[int]:
    """Return the numbers of all chunks with a row of these clips, ascending."""
    first, last = _chunks(layout, clips)
    chunks = {
        number
        for begin, end in set(zip(first.tolist(), last.tolist(), strict=True))
        for number in range(begin, end + 1)
    }
    return sorted(chunks)
