"""Choose how probabilities become segments on annotated recordings, such as those of val."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from pipeline.metrics.segments import OVERLAPS, Interval, f1
from pipeline.predict.segments import Segment, Smoother, segments_of
from pipeline.types import Floats

BEST: Literal["best"] = "best"
FACTORS = (0.5, 1.0, 2.0, 3.0)  # of the window


def candidates(window: float, threshold: float) -> list[Smoother]:
    """Return what is tried, the simplest first.

    Parameters
    ----------
    window : float
        Seconds.
    threshold : float
        Of all of them.
    """
    plain = Smoother("none", 0.0, threshold)
    seconds = [factor * window for factor in FACTORS]
    return [
        plain,
        *(replace(plain, kind="median", seconds=each) for each in seconds),
        *(replace(plain, kind="viterbi", seconds=each) for each in seconds),
    ]


def choose(
    smoothers: Sequence[Smoother],
    timelines: Sequence[tuple[Floats, Floats, Sequence[Segment]]],
    hop: float,
) -> tuple[Smoother, float]:
    """Return the smoother with the best mean of segmental F1 over the overlaps, and that mean.

    Of equal ones, the first.

    Parameters
    ----------
    smoothers : sequence of Smoother
    timelines : sequence of (bounds, slots, annotated segments)
        Of each annotated recording; see `pipeline.predict.segments.slots_of`.
    hop : float
        Seconds of a slot.
    """
    scores = []
    for smoother in smoothers:
        recordings = []
        for bounds, slots, annotated in timelines:
            segments = segments_of(smoother(slots, hop), slots, bounds)
            sides = (segments, annotated)
            predicted, true = ([Interval(*one) for one in side] for side in sides)
            recordings.append((predicted, true))
        scores.append(float(np.mean([f1(recordings, overlap) for overlap in OVERLAPS])))
    best = int(np.argmax(scores))
    return smoothers[best], scores[best]
