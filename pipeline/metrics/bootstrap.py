"""Confidence intervals of scores by bootstrap, over clips and over subjects.

Clips of one person resemble each other, so an interval over clips says how far the score would
move on other clips of the same people; one over subjects (a cluster bootstrap) how far on other
people. The intervals are percentile intervals (Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993, chapter 13). Those over subjects, who are few, are widened: resamples of n units
spread too little by sqrt((n - 1) / n), and have the quantiles of a normal distribution where
Student's are due (Hesterberg, "What Teachers Should Know about the Bootstrap", 2015, on the
narrowness of percentile intervals). He moves the levels of the quantiles; here the bounds' distance
from the score is scaled by as much, for no level goes beyond the resample of one subject alone.

Clips of one class that were classified alike are interchangeable, so a resample is drawn as how
often each kind of clip occurs in it: a draw from the multinomial distribution, which is the same as
drawing clips one by one, and much less work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.types import Floats, Ints

LEVEL = 0.95
RESAMPLES = 2000
FEW_SUBJECTS = 5  # with fewer, an interval over subjects cannot be trusted
SCORES = ("top1", "mean_class_accuracy")
_CELLS = 4_000_000  # of the table of draws that is held at once


@dataclass(frozen=True, slots=True)
class Units:
    """What is drawn: clips of one kind each, or subjects.

    Attributes
    ----------
    count : int64 array (U,)
        How many there are of each unit.
    classifiers, classes : int
        K and C.
    hits : float64 array (U, K), or sparse array (U, K * C) where units have clips of any class
        What one such unit adds to the right clips of each classifier and class.
    of : int64 array (U,), or sparse array (U, C)
        The class of each unit, ascending; or what each adds to the clips of each class.
    """

    count: Ints
    classifiers: int
    classes: int
    hits: Any
    of: Any

    def tally(self, drawn: Floats) -> tuple[Floats, Floats]:
        """Count right clips (r, K, C) and clips (r, C) where units are drawn so often (r, U)."""
        if not isinstance(self.of, np.ndarray):
            hits = drawn @ self.hits
            return hits.reshape(len(drawn), self.classifiers, self.classes), drawn @ self.of
        bounds = np.searchsorted(self.of, np.arange(self.classes + 1)).tolist()
        by_class = [drawn[:, first:end] @ self.hits[first:end] for first, end in pairwise(bounds)]
        support = [drawn[:, first:end].sum(axis=1) for first, end in pairwise(bounds)]
        return np.stack(by_class, axis=-1), np.stack(support, axis=-1)


def clip_units(labels: Ints, correct: Floats, classes: int) -> Units:
    """Make units of clips.

    Parameters
    ----------
    labels : int64 array (n,)
    correct : float64 array (n, K)
        For each of K classifiers, whether a clip was right, or the share of its runs that were.
    classes : int
    """
    rows, count = np.unique(np.column_stack([labels, correct]), axis=0, return_counts=True)
    number, hits = count.astype(np.int64), rows[:, 1:]
    return Units(number, hits.shape[1], classes, hits, rows[:, 0].astype(np.int64))


def subject_units(labels: Ints, correct: Floats, subjects: npt.NDArray[Any], classes: int) -> Units:
    """Make units of subjects, named by one entry a clip; see `clip_units`."""
    from scipy.sparse import coo_array  # takes a tenth of a second

    names, owner = np.unique(subjects, return_inverse=True)
    several = correct.shape[1]
    columns = labels[:, None] + classes * np.arange(several)
    rows = np.repeat(owner, several)
    # Sparse, for few subjects have clips of each of thousands of classes.
    hits = coo_array(
        (correct.ravel(), (rows, columns.ravel())), shape=(len(names), several * classes)
    )
    support = coo_array((np.ones(len(labels)), (owner, labels)), shape=(len(names), classes))
    return Units(np.ones(len(names), np.int64), several, classes, hits.tocsr(), support.tocsr())


def scores_of(hits: Floats, support: Floats) -> dict[str, Floats]:
    """Score counts: top-1, and the mean accuracy of the classes that have clips.

    Parameters
    ----------
    hits, support : float64 arrays (..., C)

    Returns
    -------
    dict of float64 arrays (...)
    """
    has = support > 0
    recall = np.divide(hits, support, out=np.zeros(np.broadcast(hits, support).shape), where=has)
    return {
        "top1": hits.sum(axis=-1) / np.maximum(support.sum(axis=-1), 1),
        "mean_class_accuracy": recall.sum(axis=-1) / np.maximum(has.sum(axis=-1), 1),
    }


def point(units: Units) -> dict[str, Floats]:
    """Score the units as they are; a dict of float64 arrays (K,)."""
    hits, support = units.tally(units.count[None].astype(np.float64))
    return {name: value[0] for name, value in scores_of(hits, support[:, None]).items()}


def resampled(units: Units, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Score resamples, each of as many units as there are.

    A class without clips in a resample is left out of that resample's mean.

    Parameters
    ----------
    units : Units
    resamples : int
    seed : int

    Returns
    -------
    dict of float64 arrays (resamples, K)
    """
    pieces = [
        scores_of(hits, support[:, None, :])
        for hits, support in _draws(units, resamples, np.random.default_rng(seed))
    ]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in SCORES}


def _draws(
    units: Units, resamples: int, rng: np.random.Generator
) -> Iterator[tuple[Floats, Floats]]:
    """Yield hits (r, K, C) and support (r, C) of some resamples at a time."""
    total, size = int(units.count.sum()), len(units.count)
    tallied = units.classifiers * units.classes
    block = max(1, _CELLS // max(size, tallied))
    for first in range(0, resamples, block):
        count = min(block, resamples - first)
        yield units.tally(
            rng.multinomial(total, units.count / total, size=count).astype(np.float64)
        )


def percentiles(values: Floats, level: float = LEVEL) -> list[float]:
    """Return the bounds between which the middle `level` of the values (n,) lie."""
    tail = (1 - level) / 2
    return [float(bound) for bound in np.quantile(values, [tail, 1 - tail])]


def widening(count: int, level: float = LEVEL) -> float:
    """Say how much too narrow a percentile interval over so few units is, for their mean.

    t / z * sqrt(n / (n - 1)), with the quantiles of Student's t with n - 1 degrees of freedom and
    of the normal distribution; see the top of this module.

    Parameters
    ----------
    count : int
        How many units there are, at least two.
    level : float

    Examples
    --------
    >>> [round(widening(n), 2) for n in (5, 9, 15, 1000)]
    [1.58, 1.25, 1.13, 1.0]
    """
    from scipy.special import ndtri, stdtrit  # takes a tenth of a second

    tail = 1 - (1 - level) / 2
    return float(stdtrit(count - 1, tail) / ndtri(tail) * np.sqrt(count / (count - 1)))


def widened(bounds: Sequence[float], score: float, count: int) -> list[float]:
    """Move the bounds of an interval over so few units away from the score, within 0 and 1.

    Examples
    --------
    >>> [round(bound, 3) for bound in widened([0.8, 0.95], 0.9, 9)]
    [0.775, 0.962]
    """
    factor = widening(count)
    return [min(max(score + factor * (bound - score), 0.0), 1.0) for bound in bounds]


def intervals(
    labels: Ints,
    correct: npt.NDArray[Any],
    subjects: npt.NDArray[Any] | None,
    *,
    classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Give the intervals of one classifier's scores.

    Parameters
    ----------
    labels : int64 array (n,)
    correct : array (n,)
        Whether each clip was right, or the share of the runs that were right about it.
    subjects : array (n,), optional
    classes : int
    resamples, seed : int

    Returns
    -------
    dict or None
        ``level``, ``resamples``, ``subjects`` (how many) and, by score, ``clips`` and
        ``subjects``: [low, high], the second widened. Over subjects it is None with fewer than
        two, for there is nothing to draw. None without clips.
    """
    if not len(labels):
        return None
    column = np.asarray(correct, np.float64)[:, None]
    people = 0 if subjects is None else len(np.unique(subjects))
    units = clip_units(labels, column, classes)
    scores = {name: float(value[0]) for name, value in point(units).items()}
    draws = resampled(units, resamples=resamples, seed=seed)
    found: dict[str, dict[str, list[float] | None]] = {
        name: {"clips": percentiles(draws[name][:, 0]), "subjects": None} for name in SCORES
    }
    if subjects is not None and people > 1:
        units = subject_units(labels, column, subjects, classes)
        draws = resampled(units, resamples=resamples, seed=seed)
        for name, score in scores.items():
            found[name]["subjects"] = widened(percentiles(draws[name][:, 0]), score, people)
    return {"level": LEVEL, "resamples": resamples, "subjects": people, **found}
