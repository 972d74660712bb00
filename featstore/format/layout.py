"""Compute the row offsets of ragged clips, chunks and units of work. Pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Layout:
    """Contiguous ragged rows, split into chunks regardless of clips.

    Parameters
    ----------
    row_size : ndarray of int64, shape (clips,)
        Steps of every clip.
    dim : int
        Length of a feature vector.
    chunk_rows : int
        Rows in a chunk.

    Attributes
    ----------
    offsets : ndarray of int64, shape (clips + 1,)
        Clip ``i`` has rows ``offsets[i]:offsets[i + 1]``.

    Examples
    --------
    >>> layout = Layout(np.array([3, 4, 2]), dim=8, chunk_rows=5)
    >>> layout.steps, layout.units()
    (9, [(0, 5), (5, 9)])
    """

    row_size: NDArray[np.int64]
    dim: int
    chunk_rows: int
    offsets: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        offsets = np.concatenate([[0], np.cumsum(self.row_size, dtype=np.int64)])
        object.__setattr__(self, "offsets", offsets.astype(np.int64))

    @property
    def steps(self) -> int:
        """The total number of rows."""
        return int(self.offsets[-1])

    def units(self) -> list[tuple[int, int]]:
        """Return the row ranges that commit separately: one chunk each, in separate files."""
        return [
            (first, min(first + self.chunk_rows, self.steps))
            for first in range(0, self.steps, self.chunk_rows)
        ]

    def clips_of(self, first: int, last: int) -> range:
        """Return the clips with a row in `first` to `last`.

        Examples
        --------
        >>> Layout(np.array([3, 4, 2]), dim=8, chunk_rows=5).clips_of(0, 5)
        range(0, 2)
        """
        begin = int(np.searchsorted(self.offsets, first, "right")) - 1
        return range(begin, int(np.searchsorted(self.offsets, last, "left")))


def default_chunk_rows(dim: int, steps: int) -> int:
    """Return the largest power of two of rows below 8 MiB, at most `steps`.

    Examples
    --------
    >>> default_chunk_rows(512, 1_000_000), default_chunk_rows(512, 100)
    (4096, 100)
    """
    rows: int = 2 ** int(np.log2(max(1, CHUNK_BYTES // (4 * dim))))
    return max(1, min(rows, steps))
