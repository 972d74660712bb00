"""Windows over a recording: which frames each takes, and which inputs of the backbone they share.

Pure: nothing is read here. Sliding windows take their steps from one sampling of the whole
recording, so that overlapping windows share frames. An interval of a table is sampled by itself, as
a build samples a clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from featstore.errors import InputError
from pipeline.build.plan.clips import Clip
from pipeline.build.plan.sampling import Frames, sample, windows
from pipeline.build.plan.timeline import Timeline
from pipeline.types import Floats, Ints
from pipeline.video.index import VideoIndex

EPSILON = 1e-6  # seconds


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one recording, by start.

    Attributes
    ----------
    start, stop : int64 array (n,)
        The interval ``[start, stop)`` in frames.
    begin, end : float64 array (n,)
        The same in seconds from the beginning of the file.
    inputs : int64 array (inputs, frames)
        The distinct inputs of the backbone, ascending.
    rows : list of int64 arrays (steps,)
        The input of each step of each window.
    counts : float64 array (inputs,)
        How often an input counts in statistics over the recording: once in sliding windows, once
        for each interval that has it.
    """

    start: Ints
    stop: Ints
    begin: Floats
    end: Floats
    inputs: Frames
    rows: list[Ints]
    counts: Floats

    def __len__(self) -> int:
        return len(self.start)

    @property
    def frames(self) -> int:
        """The number of frames that are decoded."""
        return len(np.unique(self.inputs))


def slide(
    index: VideoIndex,
    fps: Fraction | None,
    window: float,
    hop: float,
    backbone_window: tuple[int, int] | None,
) -> Windows:
    """Return windows that slide over a recording.

    The last one is shifted back so that it ends with the recording. A recording shorter than a
    window is one window.

    Parameters
    ----------
    index : VideoIndex
        Of a recording with known times.
    fps : Fraction or None
        Steps per second; None takes every frame.
    window, hop : float
        Length of a window, and seconds from one to the next.
    backbone_window : (int, int) or None
        Frames in an input of a video backbone, and between two inputs.
    """
    timeline = Timeline.of(index)
    delay, finish = float(index.delay), timeline.finish
    count = max(1, 1 + math.floor((finish - delay - window) / hop + EPSILON))
    begins = [delay + number * hop for number in range(count)]
    if begins[-1] + window < finish - EPSILON:
        begins.append(max(delay, finish - window))
    grid = sample(index, 0, len(index), fps)
    spans = []
    for begin in begins:
        end = min(begin + window, finish)
        start, stop, _ = timeline.interval(round(begin, 9), round(end, 9), fps)
        first, last = np.searchsorted(grid, [start, stop])
        if start < stop and first < last:
            spans.append((start, stop, grid[first:last]))
    return _windows(index, spans, backbone_window, once=True)


def intervals(
    index: VideoIndex,
    fps: Fraction | None,
    clips: Sequence[Clip],
    backbone_window: tuple[int, int] | None,
) -> Windows:
    """Return one window for each annotated interval, with the frames that a build takes.

    Parameters
    ----------
    index : VideoIndex
    fps : Fraction or None
    clips : sequence of Clip
        Of this recording, by start.
    backbone_window : (int, int) or None
    """
    spans = [
        (clip.start, clip.stop, sample(index, clip.start, clip.stop, fps, clip.shown))
        for clip in clips
    ]
    return _windows(index, spans, backbone_window, once=False)


def _windows(
    index: VideoIndex,
    spans: Sequence[tuple[int, int, Frames]],
    backbone_window: tuple[int, int] | None,
    *,
    once: bool,
) -> Windows:
    steps = [
        windows(frames, *backbone_window) if backbone_window else frames[:, None]
        for _, _, frames in spans
    ]
    inputs, where = np.unique(np.concatenate(steps), axis=0, return_inverse=True)
    where = where.reshape(-1)
    counts = np.bincount(where, minlength=len(inputs)).astype(np.float64)
    bounds = (index.bounds * float(index.time_base) + float(index.delay)).astype(np.float64)
    start, stop = (np.array([each[side] for each in spans], np.int64) for side in (0, 1))
    return Windows(
        start=start,
        stop=stop,
        begin=bounds[start],
        end=bounds[stop],
        inputs=inputs,
        rows=np.split(where, np.cumsum([len(each) for each in steps])[:-1]),
        counts=np.minimum(counts, 1) if once else counts,
    )


def check_lengths(window: float, hop: float) -> None:
    """Refuse windows that are not positive numbers of seconds.

    Raises
    ------
    InputError
    """
    for name, value in (("window", window), ("hop", hop)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"--{name} is {value:g}; it is a positive number of seconds.")


def default_hop(window: float, fps: Fraction | None) -> float:
    """Return half a window, in whole steps if there is a rate.

    Examples
    --------
    >>> default_hop(3.0, None), default_hop(1.1, Fraction(5))
    (1.5, 0.6)
    """
    if fps is None:
        return window / 2
    return float(max(1, math.ceil(window / 2 * fps)) / fps)
