"""The work of one unit: rows to copy, and rows to compute from frames."""

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
    """The work of one unit, independent of where it runs.

    Attributes
    ----------
    number, first, last : int
        The unit, and its rows in the store.
    segments : list of Segment
        The segments to compute; their rows are in the order of the store.
    copies : list of Copy
        The rows to copy.
    """

    number: int
    first: int
    last: int
    segments: list[Segment]
    copies: list[Copy]

    @property
    def inputs(self) -> int:
        """The number of inputs of the backbone."""
        return sum(len(segment.inputs) for segment in self.segments)

    def computed_rows(self) -> NDArray[np.int64]:
        """Return the computed rows of the unit, in ascending order."""
        missing = np.ones(self.last - self.first, bool)
        for copy in self.copies:
            missing[copy.begin : copy.end] = False
        return np.flatnonzero(missing)

    def failed_clips(self, failed: Mapping[int, str], layout: Layout) -> dict[int, str]:
        """Return the clips with a failed computed row, and the reasons."""
        rows = self.first + self.computed_rows() if failed else np.zeros(0, np.int64)
        return {
            int(np.searchsorted(layout.offsets, rows[row], "right")) - 1: reason
            for row, reason in failed.items()
        }

    def assemble(self, computed: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
        """Return all rows of the unit, computed and copied; shape (last - first, dim)."""
        if not self.copies:
            return computed
        rows = np.empty((self.last - self.first, dim), np.float32)
        rows[self.computed_rows()] = computed
        for copy in self.copies:
            copy.copy_into(rows)
        return rows


@dataclass(frozen=True, slots=True)
class Written:
    """A unit with a written chunk, not committed yet.

    Attributes
    ----------
    number : int
    commit : dict
        The argument of `StoreWriter.commit`.
    failed : dict of int to str
        Maps the number of a failed computed row to the reason.
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
    *,
    apart: bool = False,
) -> Iterator[UnitWork]:
    """Yield the work of units; see `segments` for `apart`."""
    units = layout.units()
    for number in numbers:
        first, last = units[number]
        work = segments(clips, inputs, layout, first, last, without=copies.found, apart=apart)
        yield UnitWork(number, first, last, work, copies.of_rows(layout, first, last))
