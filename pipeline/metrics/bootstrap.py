"""Confidence intervals of scores by bootstrap, over clips and over subjects.

Clips of one person resemble each other. An interval over clips therefore shows how the score varies
on other clips of the same people. One over subjects (a cluster bootstrap) shows how it varies on
other people.

The intervals are percentile intervals (Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, chapter 13). Intervals over subjects are widened, because subjects are few: resamples of n
units spread too little by sqrt((n - 1) / n), and have normal quantiles instead of Student's
(Hesterberg, "What Teachers Should Know about the Bootstrap", 2015, on the narrowness of percentile
intervals). Hesterberg moves the quantile levels. Here the bounds' distance from the score is scaled
by the same factor, because no level reaches beyond the resample of a single subject.

Clips of one class with the same outcome are interchangeable. A resample is therefore one
multinomial draw of how often each kind of clip occurs. That equals drawing clips one by one, and
is much faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.metrics.classification import MAIN_SCORES
from pipeline.types import Floats, Ints

LEVEL = 0.95
RESAMPLES = 2000
FEW_SUBJECTS = 5  # with fewer, an interval over subjects is unreliable
_CELLS = 4_000_000  # cells of the table of draws held at once


@dataclass(frozen=True, slots=True)
class Units:
    """The units of resampling: kinds of clips, or subjects.

    Attributes
    ----------
    count : int64 array (U,)
        Number of each unit.
    classifiers, classes : int
        K and C.
    hits : float64 array (U, K), or sparse array (U, K * C) where units span classes
        Number of correct clips per unit, by classifier and class.
    of : int64 array (U,), or sparse array (U, C)
        The class of each unit, ascending; or the number of clips per unit, by class.
    """

    count: Ints
    classifiers: int
    classes: int
    hits: Any
    of: Any

    def tally(self, drawn: Floats) -> tuple[Floats, Floats]:
        """Return correct clips (r, K, C) and clips (r, C) for numbers of draws (r, U)."""
        if not isinstance(self.of, np.ndarray):
            hits = drawn @ self.hits
            return hits.reshape(len(drawn), self.classifiers, self.classes), drawn @ self.of
        bounds = np.searchsorted(self.of, np.arange(self.classes + 1)).tolist()
        by_class = [drawn[:, first:end] @ self.hits[first:end] for first, end in pairwise(bounds)]
        support = [drawn[:, first:end].sum(axis=1) for first, end in pairwise(bounds)]
        return np.stack(by_class, axis=-1), np.stack(support, axis=-1)


def clip_units(labels: Ints, correct: Floats, classes: int) -> Units:
    """Return units of clips.

    Parameters
    ----------
    labels : int64 array (n,)
    correct : float64 array (n, K)
        For each of K classifiers, whether a clip was correct, or its share of correct runs.
    classes : int
    """
    rows, count = np.unique(np.column_stack([labels, correct]), axis=0, return_counts=True)
    number, hits = count.astype(np.int64), rows[:, 1:]
    return Units(number, hits.shape[1], classes, hits, rows[:, 0].astype(np.int64))


def subject_units(labels: Ints, correct: Floats, subjects: npt.NDArray[Any], classes: int) -> Units:
    """Return units of subjects, given the subject of each clip; see `clip_units`."""
    from scipy.sparse import coo_array  # imports in a tenth of a second

    names, owner = np.unique(subjects, return_inverse=True)
    several = correct.shape[1]
    columns = labels[:, None] + classes * np.arange(several)
    rows = np.repeat(owner, several)
    # Sparse, because a subject has clips of few of thousands of classes.
    hits = coo_array(
        (correct.ravel(), (rows, columns.ravel())), shape=(len(names), several * classes)
    )
    support = coo_array((np.ones(len(labels)), (owner, labels)), shape=(len(names), classes))
    return Units(np.ones(len(names), np.int64), several, classes, hits.tocsr(), support.tocsr())


def scores_of(hits: Floats, support: Floats) -> dict[str, Floats]:
    """Return top-1 and the mean accuracy of the classes that have clips.

    Parameters
    ----------
    hits, support : float64 arrays (..., C)

    Returns
    -------
    dict of float64 arrays (...)
    """
    present = support > 0
    recall = np.divide(
        hits, support, out=np.zeros(np.broadcast(hits, support).shape), where=present
    )
    return {
        "top1": hits.sum(axis=-1) / np.maximum(support.sum(axis=-1), 1),
        "mean_class_accuracy": recall.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1),
    }


def point(units: Units) -> dict[str, Floats]:
    """Return the scores without resampling; a dict of float64 arrays (K,)."""
    hits, support = units.tally(units.count[None].astype(np.float64))
    return {name: value[0] for name, value in scores_of(hits, support[:, None]).items()}


def resampled(units: Units, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Return the scores of resamples, each as large as the sample.

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
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in MAIN_SCORES}


def _draws(
    units: Units, resamples: int, rng: np.random.Generator
) -> Iterator[tuple[Floats, Floats]]:
    """Yield hits (r, K, C) and support (r, C) in batches of resamples."""
    total, size = int(units.count.sum()), len(units.count)
    tallied = units.classifiers * units.classes
    block = max(1, _CELLS // max(size, tallied))
    for first in range(0, resamples, block):
        count = min(block, resamples - first)
        yield units.tally(
            rng.multinomial(total, units.count / total, size=count).astype(np.float64)
        )


def percentiles(values: Floats, level: float = LEVEL) -> list[float]:
    """Return the bounds of the middle `level` of the values (n,)."""
    tail = (1 - level) / 2
    return [float(bound) for bound in np.quantile(values, [tail, 1 - tail])]


def widening(count: int, level: float = LEVEL) -> float:
    """Return the factor that widens a percentile interval over few units.

    The factor is t / z * sqrt(n / (n - 1)), with the quantiles of Student's t with n - 1 degrees of
    freedom and of the normal distribution; see the module docstring.

    Parameters
    ----------
    count : int
        Number of units, at least two.
    level : float

    Examples
    --------
    >>> [round(widening(n), 2) for n in (5, 9, 15, 1000)]
    [1.58, 1.25, 1.13, 1.0]
    """
    from scipy.special import ndtri, stdtrit  # imports in a tenth of a second

    tail = 1 - (1 - level) / 2
    return float(stdtrit(count - 1, tail) / ndtri(tail) * np.sqrt(count / (count - 1)))


def widened(bounds: Sequence[float], score: float, count: int) -> list[float]:
    """Return the bounds of an interval over few units, widened and clipped to 0 and 1.

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
    """Return the confidence intervals of one classifier's scores.

    Parameters
    ----------
    labels : int64 array (n,)
    correct : array (n,)
        Whether each clip was correct, or its share of correct runs.
    subjects : array (n,), optional
    classes : int
    resamples, seed : int

    Returns
    -------
    dict or None
        ``level``, ``resamples``, ``subjects`` (their number) and, by score, ``clips`` and
        ``subjects``: [low, high], the second widened. ``subjects`` is None with fewer than two
        subjects. The result is None without clips.
    """
    if not len(labels):
        return None
    column = np.asarray(correct, np.float64)[:, None]
    people = 0 if subjects is None else len(np.unique(subjects))
    units = clip_units(labels, column, classes)
    scores = {name: float(value[0]) for name, value in point(units).items()}
    draws = resampled(units, resamples=resamples, seed=seed)
    bounds: dict[str, dict[str, list[float] | None]] = {
        name: {"clips": percentiles(draws[name][:, 0]), "subjects": None} for name in MAIN_SCORES
    }
    if subjects is not None and people > 1:
        units = subject_units(labels, column, subjects, classes)
        draws = resampled(units, resamples=resamples, seed=seed)
        for name, score in scores.items():
            bounds[name]["subjects"] = widened(percentiles(draws[name][:, 0]), score, people)
    return {"level": LEVEL, "resamples": resamples, "subjects": people, **bounds}
