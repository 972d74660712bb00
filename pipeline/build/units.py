"""The work of one unit: which rows are copied, and which are computed from which frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.format.layout import Layout
from pipeline.build.plan.clips import Clip
from pipeline.build.plan.sampling import Frames
from pipeline.build.plan.steps import Segment, segments
from pipeline.build.reuse import Copies, Copy


@dataclass(frozen=True, slots=True)
class UnitWork:
    """What is to be done for one unit, wherever it is done.

    Attributes
    ----------
    number, first, last : int
        The unit, and its rows in the store.
    segments : list of Segment
        What is computed; the rows follow each other as in the store.
    copies : list of Copy
        What is copied.
    """

    number: int
    first: int
    last: int
    segments: list[Segment]
    copies: list[Copy]

    @property
    def inputs(self) -> int:
        """Inputs of the backbone."""
        return sum(len(segment.inputs) for segment in self.segments)

    def computed_rows(self) -> NDArray[np.int64]:
        """Return the rows of the unit that are computed, in ascending order."""
        missing = np.ones(self.last - self.first, bool)
        for copy in self.copies:
            missing[copy.begin : copy.end] = False
        return np.flatnonzero(missing)

    def failed_clips(self, failed: Mapping[int, str], layout: Layout) -> dict[int, str]:
        """Return the clips of which a computed row failed, and why."""
        rows = self.first + self.computed_rows() if failed else np.zeros(0, np.int64)
        return {
            int(np.searchsorted(layout.offsets, rows[row], "right")) - 1: reason
            for row, reason in failed.items()
        }

    def assemble(self, computed: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
        """Return all rows of the unit, shape (last - first, dim), copying those that exist."""
        if not self.copies:
            return computed
        rows = np.empty((self.last - self.first, dim), np.float32)
        rows[self.computed_rows()] = computed
        for copy in self.copies:
            copy.copy_into(rows)
        return rows


@dataclass(frozen=True, slots=True)
class Written:
    """A unit whose chunk is written, and not committed yet.

    Attributes
    ----------
    number : int
    commit : dict
        What `StoreWriter.commit` takes.
    failed : dict of int to str
        Number of a computed row that failed to why.
    """

    number: int
    commit: dict[str, Any]
    failed: dict[int, str]


def unit_works(
    clips: Sequence[Clip],
    inputs: Sequence[Frames],
    layout: Layout,
    numbers: Sequence[int],
    copies: Copies,
) -> Iterator[UnitWork]:
    """Yield the work of units."""
    units = layout.units()
    for number in numbers:
        first, last = units[number]
        work = segments(clips, inputs, layout, first, last, without=copies.found)
        yield UnitWork(number, first, last, work, copies.of_rows(layout, first, last))
