"""Scores of temporal segments: accuracy over time, edit score, segmental F1, average precision.

Accuracy, edit score and F1 are those of action segmentation (Lea et al., "Temporal convolutional
networks for action segmentation and detection", CVPR 2017; Farha and Gall, "MS-TCN", CVPR 2019, and
its published evaluation). Average precision is that of ActivityNet (Caba Heilbron et al., CVPR
2015, and its published evaluation). All are fractions. Time without a segment is background, which
is no class. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.types import Floats, Ints

OVERLAPS = (0.1, 0.25, 0.5)  # of F1
DETECTION_OVERLAPS = (0.1, 0.3, 0.5, 0.7)


class Interval(NamedTuple):
    """A labelled interval.

    Attributes
    ----------
    begin, end : float
        Seconds.
    label : int
    score : float
        Confidence; only of predictions.
    """

    begin: float
    end: float
    label: int
    score: float = 1.0


Recordings = Sequence[tuple[Sequence[Interval], Sequence[Interval]]]
"""Predicted and true intervals of each recording."""


def accuracy(recordings: Recordings) -> float:
    """Return the share of the annotated time that has the right label; NaN without any.

    This is the accuracy over frames of Lea et al., in the limit of many frames. Time without
    annotation does not count.

    Parameters
    ----------
    recordings : sequence of (predicted, true)

    Examples
    --------
    >>> accuracy([([Interval(0, 3, 0), Interval(3, 5, 1)], [Interval(1, 5, 0)])])
    0.5
    """
    right = total = 0.0
    for predicted, true in recordings:
        for one in true:
            same = [(p.begin, p.end) for p in predicted if p.label == one.label]
            right += _covered(one, same)
            total += one.end - one.begin
    return right / total if total else float("nan")


def _covered(one: Interval, others: Sequence[tuple[float, float]]) -> float:
    """Return how much of an interval some others cover together."""
    covered, reached = 0.0, one.begin
    for begin, end in sorted(others):
        covered += max(0.0, min(end, one.end) - max(begin, reached))
        reached = max(reached, min(end, one.end))
    return covered


def edit_score(recordings: Recordings) -> float:
    """Return the mean over recordings of one minus the normalised Levenshtein distance.

    Between the sequences of the labels of segments, over the length of the longer one (Lea et al.
    2017, section 4.1).

    Examples
    --------
    >>> a, b, c = (Interval(n, n + 1, n) for n in range(3))
    >>> round(edit_score([([a, b, c], [a, c])]), 3)
    0.667
    """
    scores = []
    for predicted, true in recordings:
        first, second = ([one.label for one in sorted(side)] for side in (predicted, true))
        longest = max(len(first), len(second))
        if longest:
            scores.append(1 - levenshtein(first, second) / longest)
    return float(np.mean(scores)) if scores else float("nan")


def levenshtein(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the least number of insertions, deletions and replacements between two sequences.

    Examples
    --------
    >>> levenshtein([1, 2, 3], [2, 3, 4])
    2
    """
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            change = before + (one != other)
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, change)
    return row[-1]


def f1(recordings: Recordings, overlap: float) -> float:
    """Return the segmental F1 score at an overlap, over all recordings.

    A predicted segment is a true positive if its best segment of the same label overlaps at least
    so much (intersection over union) and has no earlier one; as in the evaluation of MS-TCN.

    Parameters
    ----------
    recordings : sequence of (predicted, true)
    overlap : float
        In 0..1.

    Examples
    --------
    >>> f1([([Interval(0, 2, 0), Interval(2, 4, 1)], [Interval(0, 4, 0)])], 0.5)
    0.6666666666666666
    """
    hits = predictions = truths = 0
    for predicted, true in recordings:
        predictions += len(predicted)
        truths += len(true)
        taken = np.zeros(len(true), bool)
        for one in sorted(predicted):
            if not len(true):
                break
            overlaps = _overlaps(one, true)
            overlaps *= np.array([other.label == one.label for other in true])
            best = int(overlaps.argmax())
            if overlaps[best] >= overlap and overlaps[best] > 0 and not taken[best]:
                taken[best] = True
                hits += 1
    return 2 * hits / (predictions + truths) if predictions + truths else float("nan")


def _overlaps(one: Interval, others: Sequence[Interval]) -> Floats:
    """Return intersection over union of one interval with others."""
    begins = np.array([other.begin for other in others])
    ends = np.array([other.end for other in others])
    shared = np.maximum(0.0, np.minimum(ends, one.end) - np.maximum(begins, one.begin))
    union = (ends - begins) + (one.end - one.begin) - shared
    result: Floats = shared / union
    return result


def mean_average_precision(recordings: Recordings, overlap: float) -> float:
    """Return the mean over classes of the average precision at an overlap.

    Over the classes with true segments. Predictions in the order of their scores take the best
    free segment of their class and recording. Average precision is the area under the precision
    that is made monotonous, as in the evaluation of ActivityNet.

    Parameters
    ----------
    recordings : sequence of (predicted, true)
    overlap : float
        In 0..1.
    """
    labels = sorted({one.label for _, true in recordings for one in true})
    values = [average_precision(recordings, label, overlap) for label in labels]
    return float(np.mean(values)) if values else float("nan")


def average_precision(recordings: Recordings, label: int, overlap: float) -> float:
    """Return the average precision of one class; see `mean_average_precision`.

    Examples
    --------
    >>> right, wrong = Interval(0, 1, 0, 0.5), Interval(5, 6, 0, 0.9)
    >>> average_precision([([right, wrong], [Interval(0, 1, 0)])], 0, 0.5)
    0.5
    """
    true = [[one for one in side if one.label == label] for _, side in recordings]
    taken = [np.zeros(len(segments), bool) for segments in true]
    ranked = [
        (one.score, number, one)
        for number, (predicted, _) in enumerate(recordings)
        for one in predicted
        if one.label == label
    ]
    ranked.sort(key=lambda entry: -entry[0])
    hits = np.zeros(len(ranked))
    for rank, (_, number, one) in enumerate(ranked):
        if not true[number]:
            continue
        overlaps = _overlaps(one, true[number])
        for best in np.argsort(-overlaps, kind="stable"):
            if overlaps[best] < overlap or overlaps[best] <= 0:
                break
            if not taken[number][best]:
                taken[number][best] = True
                hits[rank] = 1
                break
    return _area(hits, sum(map(len, true)))


def _area(hits: Floats, total: int) -> float:
    """Return the area under the monotonous precision over recall."""
    right = hits.cumsum()
    precision = right / np.arange(1, len(hits) + 1)
    recall = np.concatenate([[0.0], right / total, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps: Ints = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * precision[steps]).sum())
