"""From probabilities of overlapping windows to a timeline, and from a timeline to segments.

The timeline has slots of one hop. A slot has the mean probabilities of the windows over its middle,
or NaN where no window was predicted. Pure numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from featstore.errors import InputError
from pipeline.predict.recording import Predicted
from pipeline.types import Bools, Floats, Ints

Smoothing = Literal["none", "median", "viterbi"]
SMOOTHINGS: tuple[Smoothing, ...] = ("none", "median", "viterbi")
GAP = -1


class Segment(NamedTuple):
    """An interval of one class.

    Attributes
    ----------
    begin, end : float
        Seconds.
    label : int
        Position in the class list.
    probability : float
        The mean of the class over the segment's slots.
    """

    begin: float
    end: float
    label: int
    probability: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """What a recording shows over time.

    Attributes
    ----------
    bounds : float64 array (slots + 1,)
        Seconds.
    slots : float64 array (slots, classes)
        Probabilities; NaN in gaps.
    segments, annotated : sequence of Segment
        What was predicted, and what annotations say.
    """

    bounds: Floats
    slots: Floats
    segments: Sequence[Segment]
    annotated: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class Smoother:
    """How classes of slots become segments.

    Attributes
    ----------
    kind : {"none", "median", "viterbi"}
    seconds : float
        Width of the median, or the least duration of a segment.
    threshold : float
        A slot whose most probable class is less probable has none.
    """

    kind: Smoothing
    seconds: float
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise InputError(f"--smooth-seconds is {self.seconds:g}; it is 0 or more.")
        if not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is {self.threshold:g}; it is at least 0 and below 1.")

    def __call__(self, slots: Floats, hop: float) -> Ints:
        """Return the class of each slot, `GAP` where there is none.

        Parameters
        ----------
        slots : float64 array (slots, classes)
            Probabilities; NaN in gaps.
        hop : float
            Seconds of a slot.
        """
        width = max(1, round(self.seconds / hop))
        labels = np.full(len(slots), GAP, np.int64)
        predicted = np.asarray(np.isfinite(slots).all(axis=1), np.bool_)
        for first, last in _runs(predicted):
            part = slots[first:last]
            if self.kind == "viterbi":
                labels[first:last] = viterbi(np.log(np.maximum(part, 1e-12)), width)
            else:
                smooth = part
                if self.kind == "median":  # an odd width has a middle
                    smooth = median_filter(part, (width | 1, 1), mode="nearest")
                labels[first:last] = smooth.argmax(axis=1)
        sure = np.nan_to_num(slots).max(axis=1, initial=0) >= self.threshold
        return np.where(sure, labels, GAP)


def slots_of(predicted: Predicted, hop: float, finish: float) -> tuple[Floats, Floats]:
    """Return the timeline of a recording.

    Parameters
    ----------
    predicted : Predicted
    hop : float
        Seconds of a slot.
    finish : float
        Seconds at which the recording ends.

    Returns
    -------
    bounds : float64 array (slots + 1,)
        Seconds.
    slots : float64 array (slots, classes)
        Probabilities; NaN in gaps.
    """
    windows = predicted.windows
    begin = float(windows.begin.min())
    count = max(1, math.ceil((finish - begin) / hop - 1e-6))
    bounds = np.minimum(begin + hop * np.arange(count + 1), finish)
    middles = (bounds[1:] + bounds[:-1]) / 2
    total = np.zeros((count, predicted.log_probabilities.shape[1]))
    covered = np.zeros(count)
    probabilities = np.exp(predicted.log_probabilities)
    for number in range(len(windows)):
        if number in predicted.gaps:
            continue
        first, last = np.searchsorted(middles, [windows.begin[number], windows.end[number]])
        total[first:last] += probabilities[number]
        covered[first:last] += 1
    with np.errstate(invalid="ignore"):
        return bounds, total / np.where(covered, covered, np.nan)[:, None]


def segments_of(labels: Ints, slots: Floats, bounds: Floats) -> list[Segment]:
    """Return the runs of slots of one class as segments, without gaps."""
    segments = []
    first = 0
    for label, run in groupby(labels.tolist()):
        last = first + len(list(run))
        if label != GAP:
            probability = float(slots[first:last, label].mean())
            segments.append(Segment(float(bounds[first]), float(bounds[last]), label, probability))
        first = last
    return segments


def viterbi(logs: Floats, least: int) -> Ints:
    """Return the most probable classes of slots in segments of at least some slots.

    The sum of log-probabilities is maximised exactly over all such segmentations: a Viterbi search
    over (class, slots since its begin, up to `least`). A shorter timeline is one segment.

    Parameters
    ----------
    logs : float64 array (slots, classes)
    least : int

    Examples
    --------
    >>> logs = np.log([[0.9, 0.1], [0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.1, 0.9]])
    >>> viterbi(logs, 1).tolist(), viterbi(logs, 2).tolist()
    ([0, 1, 0, 1, 1], [0, 0, 0, 1, 1])
    """
    count, classes = logs.shape
    if count <= least:
        return np.full(count, int(logs.sum(axis=0).argmax()))
    sums = np.vstack([np.zeros(classes), logs.cumsum(axis=0)])
    # best[t, c]: of the first t slots, where the last segment is of class c and may end here.
    best = np.full((count + 1, classes), -np.inf)
    begin = np.zeros((count + 1, classes), np.int64)
    finished = np.full(count + 1, -np.inf)
    finished[0] = 0.0
    for end in range(least, count + 1):
        # A segment that begins `least` slots before, or one more slot of the same segment.
        fresh = finished[end - least] + sums[end] - sums[end - least]
        longer = best[end - 1] + logs[end - 1]
        best[end] = np.maximum(fresh, longer)
        begin[end] = np.where(fresh > longer, end - least, begin[end - 1])
        finished[end] = best[end].max()
    labels = np.zeros(count, np.int64)
    end = count
    while end:
        label = int(best[end].argmax())
        labels[begin[end, label] : end] = label
        end = int(begin[end, label])
    return labels


def _runs(mask: Bools) -> list[tuple[int, int]]:
    """Return the intervals in which a mask is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
