"""Which frames of a video a clip takes: by time stamp, in exact arithmetic, without I/O."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.video.index import VideoIndex

Frames = NDArray[np.int64]
Shown = tuple[int, int]


def sample(
    index: VideoIndex, start: int, stop: int, fps: Fraction | None, shown: Shown | None = None
) -> Frames:
    """Return the frames that a clip takes.

    Step k takes the frame nearest to ``time(start) + k / fps``, the earlier one of two equally
    near; sampling ends at the first step whose frame is no longer in the clip. Where the video
    stalls for longer than a step, the nearest frame stands for several steps.

    Parameters
    ----------
    index : VideoIndex
    start, stop : int
        The interval ``[start, stop)`` in frames, not empty.
    fps : Fraction or None
        Steps per second; None takes every frame.
    shown : (int, int) or None
        When the clip begins and ends, in units of the time base since the first frame; then a frame
        stands for every step from its time to that of the next, as if it were repeated at the
        video's rate. See `pipeline.build.plan.timeline.Timeline.interval`.

    Returns
    -------
    ndarray of int64, shape (steps,)
        At least `start` itself.
    """
    if fps is None:
        return np.arange(start, stop, dtype=np.int64)
    # In units of time_base / denominator, every bound and every target is an integer.
    period = 1 / (fps * index.time_base)
    end = index.pts[stop] if stop < len(index) else index.end
    bounds = np.append(index.pts[start:stop], end)
    if shown is not None:
        bounds[[0, -1]] = shown + index.pts[0]
    bounds *= period.denominator
    count = (bounds[-1] - bounds[0]) // period.numerator + 1
    targets = bounds[0] + np.arange(count, dtype=np.int64) * period.numerator
    after = np.searchsorted(bounds, targets).clip(1, stop - start)
    stays = targets - bounds[after - 1] <= bounds[after] - targets
    if shown is not None:
        near = min(usual_gap(index) * period.denominator, period.numerator)
        near = np.minimum(bounds[after] - bounds[after - 1], near)
        stays |= (2 * (bounds[after] - targets) >= near) & (targets < bounds[-1])
    nearest = after - stays
    frames: Frames = start + nearest[nearest < stop - start]
    return frames


def windows(frames: Frames, window: int, hop: int) -> Frames:
    """Cut a clip's frames into windows, one a step.

    Windows start every `hop` frames; the last one is shifted back so that it ends with the clip.
    A clip shorter than one window repeats its last frame.

    Parameters
    ----------
    frames : ndarray of int64, shape (frames,)
    window, hop : int

    Returns
    -------
    ndarray of int64, shape (steps, window)

    Examples
    --------
    >>> windows(np.arange(7), window=4, hop=2).tolist()
    [[0, 1, 2, 3], [2, 3, 4, 5], [3, 4, 5, 6]]
    >>> windows(np.arange(2), window=4, hop=2).tolist()
    [[0, 1, 1, 1]]
    """
    if len(frames) <= window:
        short = window - len(frames)
        return np.concatenate([frames, np.repeat(frames[-1:], short)])[None]
    last = len(frames) - window
    starts = np.unique(np.append(np.arange(0, last + 1, hop), last))
    return frames[starts[:, None] + np.arange(window)]


def usual_gap(index: VideoIndex) -> float:
    """Return how long most frames are shown, in units of the time base; see `VideoIndex.rate`."""
    gaps = np.diff(index.pts)
    if not len(gaps):
        return float(index.end - index.pts[0])
    return min(float(np.mean(gaps)), float(np.median(gaps)))


def frame_at(
    bounds: Frames, time_base: Fraction, seconds: float, delay: Fraction = Fraction(0)
) -> int:
    """Return the frame boundary nearest to a time in the file, the earlier of two.

    Parameters
    ----------
    bounds : ndarray of int64, shape (frames + 1,)
        The video's `VideoIndex.bounds`.
    time_base : Fraction
    seconds : float
        Stands for the decimal number that Python shows.
    delay : Fraction
        See `VideoIndex.delay`.

    Returns
    -------
    int
        0 to the number of frames.
    """
    # In integers: Python's fractions take ten times as long.
    ticks, unit = Decimal(str(seconds)).as_integer_ratio()
    if delay:
        ticks, unit = ticks * delay.denominator - delay.numerator * unit, unit * delay.denominator
    ticks, unit = ticks * time_base.denominator, unit * time_base.numerator
    last = len(bounds) - 1
    after = int(bounds.searchsorted(min(-(-ticks // unit), int(bounds[last]))))
    if after == 0 or ticks > int(bounds[last]) * unit:
        return after
    nearer_before = 2 * ticks <= (int(bounds[after - 1]) + int(bounds[after])) * unit
    return after - int(nearer_before)
