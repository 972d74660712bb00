"""From seconds, as players show them, to the frames of a video: exact, without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pipeline.build.plan.sampling import Frames, Shown, frame_at, sample, usual_gap
from pipeline.video.index import VideoIndex

# A frame shown this many times as long as is usual is no dropped frame: the picture stood still.
HELD = 4


@dataclass(frozen=True, slots=True)
class Timeline:
    """The times of a video, computed once for all of its clips.

    Attributes
    ----------
    index : VideoIndex
    bounds : ndarray of int64
        See `VideoIndex.bounds`.
    usual : float
        How long most frames are shown, in units of the time base.
    held : ndarray of int64
        The frames that are shown `HELD` times as long, or longer.
    finish, latest : float
        Seconds at which the video ends; an end of a clip up to `latest` counts as its end.
    """

    index: VideoIndex
    bounds: Frames
    usual: float
    held: Frames
    finish: float
    latest: float

    @classmethod
    def of(cls, index: VideoIndex) -> Timeline:
        """Return the times of a video with frames."""
        bounds, usual = index.bounds, usual_gap(index)
        finish = float(index.delay) + index.duration
        # An end rounded up by less than a frame is the end.
        latest = finish + index.duration / len(index)
        held = np.flatnonzero(np.diff(bounds) > HELD * usual)
        return cls(index, bounds, usual, held, finish, latest)

    def interval(
        self, begin: float, end: float, fps: Fraction | None
    ) -> tuple[int, int, Shown | None]:
        """Return the frames of an interval in seconds.

        Each end is the nearest frame boundary. An end inside of a frame that is held on the screen
        cuts that frame, and an interval inside of one frame is that frame.

        Parameters
        ----------
        begin, end : float
            In seconds from the beginning of the file.
        fps : Fraction or None
            Steps per second.

        Returns
        -------
        start, stop : int
            The interval ``[start, stop)`` in frames; empty where it lies outside of the video.
        shown : (int, int) or None
            What `sample` must know where it would take other frames without.
        """
        index = self.index
        start, stop = (
            frame_at(self.bounds, index.time_base, seconds, index.delay) for seconds in (begin, end)
        )
        if start < stop and not len(self.held):
            return start, stop, None
        exact = [
            (Fraction(str(seconds)) - index.delay) / index.time_base for seconds in (begin, end)
        ]
        ticks = [round(seconds) for seconds in exact]
        shown = (int(self.bounds[start]), int(self.bounds[stop]))
        first, last = (self._cut(tick) for tick in ticks)
        if first is not None:
            start, shown = first, (ticks[0], shown[1])
        if last is not None:
            stop, shown = last + 1, (shown[0], ticks[1])
        if start >= stop:
            middle = int(sum(exact) // 2)
            if not 0 <= middle < self.bounds[-1]:
                return start, start, None
            start = int(np.searchsorted(self.bounds, middle, "right")) - 1
            stop = start + 1
            shown = max(ticks[0], int(self.bounds[start])), min(ticks[1], int(self.bounds[stop]))
        if fps is None or shown[0] >= shown[1]:
            return start, stop, None
        as_shown = sample(index, start, stop, fps, shown)
        same = np.array_equal(as_shown, sample(index, start, stop, fps))
        stands = stop - start == 1 or self._holds(start, stop)
        return start, stop, shown if stands and not same else None

    def _cut(self, tick: int) -> int | None:
        """Return the held frame that a time lies inside of, at neither end of it."""
        frame = int(np.searchsorted(self.bounds, tick, "right")) - 1
        if not self._holds(frame, frame + 1):
            return None
        begin, end = int(self.bounds[frame]), int(self.bounds[frame + 1])
        return frame if 2 * min(tick - begin, end - tick) > self.usual else None

    def _holds(self, start: int, stop: int) -> bool:
        """Whether one of the frames ``[start, stop)`` is held."""
        first, last = np.searchsorted(self.held, [start, stop])
        return bool(first < last)
