"""Classification metrics of one part, computed from its sparse confusion matrix.

Averages cover the classes that have clips in the part, like scikit-learn with ``labels=`` set to
them. Other macro averages often count a class without clips as 0, always or once it is predicted.
Such a score depends on which classes a split happens to contain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.types import Floats, Ints

MOST_DENSE = 100  # with more classes, the confusion matrix is written sparse


@dataclass(frozen=True, slots=True)
class Score:
    """A score of one part.

    Attributes
    ----------
    name : str
        As reports show it.
    of : callable
        Takes the `Metrics` of a part with clips, and returns a fraction.
    """

    name: str
    of: Callable[[Metrics], float]


SCORES = {
    "top1": Score("top-1", lambda part: part.hits.sum() / part.clips),
    "mean_class_accuracy": Score("mean class accuracy", lambda part: part.mean_of(part.recall)),
    "macro_f1": Score("macro F1", lambda part: part.mean_of(part.f1)),
    "weighted_f1": Score("weighted F1", lambda part: part.weighted_mean_of(part.f1)),
}
"""Every score, by its key in a run's files; docs/architecture.md says how to add one."""

MAIN_SCORES = ("top1", "mean_class_accuracy")
"""The scores that have confidence intervals, and are shown where there is room for two."""


def score_name(key: str) -> str:
    """Return the name of a score, or the key itself if it is not in `SCORES`, like ``loss``.

    Examples
    --------
    >>> score_name("macro_f1"), score_name("loss")
    ('macro F1', 'loss')
    """
    return SCORES[key].name if key in SCORES else key


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Ints of one part, and the scores that follow from them.

    Attributes
    ----------
    clips, classes_with_support : int
    precision, recall, f1 : float64 array (C,)
        NaN for a class without support; precision is 0 for a class that is never predicted.
    support, predicted, hits : int64 array (C,)
        Number of clips of each class, number predicted as it, and number rightly predicted as it.
    cells : int64 array (k, 3)
        True class, predicted class and number of clips, in ascending order; only nonzero cells.
    """

    clips: int
    classes_with_support: int
    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints
    predicted: Ints
    hits: Ints
    cells: Ints

    @property
    def confusion(self) -> Ints:
        """The confusion matrix, int64 (C, C); rows are true classes, columns predicted classes."""
        return self.among(np.arange(len(self.support)))

    @property
    def scores(self) -> dict[str, float]:
        """Every score by its key, as a fraction; NaN without clips."""
        return {
            key: float(score.of(self)) if self.clips else np.nan for key, score in SCORES.items()
        }

    @property
    def top1(self) -> float:
        """The share of clips that are classified correctly."""
        return self.scores["top1"]

    @property
    def mean_class_accuracy(self) -> float:
        """The mean recall of the classes that have clips."""
        return self.scores["mean_class_accuracy"]

    def mean_of(self, by_class: Floats) -> float:
        """Return the mean of values (C,) over the classes that have clips."""
        return float(by_class[self.support > 0].mean())

    def weighted_mean_of(self, by_class: Floats) -> float:
        """Return the mean of values (C,) over clips, each with the value of its class."""
        present = self.support > 0
        return float((by_class[present] * self.support[present]).sum() / self.clips)

    def among(self, classes: Ints) -> Ints:
        """Return the confusion matrix of some classes, int64 (n, n), in their order."""
        rows = np.full(len(self.support), -1)
        rows[classes] = np.arange(len(classes))
        pairs = rows[self.cells[:, :2]]
        shown = (pairs >= 0).all(axis=1)
        matrix = np.zeros((len(classes), len(classes)), np.int64)
        matrix[tuple(pairs[shown].T)] = self.cells[shown, 2]
        return matrix

    def as_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Return the metrics as plain values, with NaN, and one row of scores per class.

        The confusion matrix is a list of rows; with more than `MOST_DENSE` classes it is a dict
        with its ``cells``. `cells_of` reads both.
        """
        rows = zip(
            classes,
            *(a.tolist() for a in (self.precision, self.recall, self.f1)),
            *(a.tolist() for a in (self.support, self.predicted)),
            strict=True,
        )
        dense = len(classes) <= MOST_DENSE
        names = ("class", "precision", "recall", "f1", "support", "predicted")
        return {
            **self.scores,
            "classes_with_support": self.classes_with_support,
            "clips": self.clips,
            "per_class": [dict(zip(names, row, strict=True)) for row in rows],
            "confusion": self.confusion.tolist() if dense else {"cells": self.cells.tolist()},
        }


def metrics_of_predictions(labels: Ints, predictions: Ints, classes: int) -> Metrics:
    """Return the metrics of predictions.

    Parameters
    ----------
    labels, predictions : int64 array (n,)
    classes : int
    """
    pairs, clips = np.unique(labels * classes + predictions, return_counts=True)
    return _metrics(np.column_stack([*np.divmod(pairs, classes), clips]), classes)


def metrics_of(confusion: Ints) -> Metrics:
    """Return the metrics of a confusion matrix.

    Parameters
    ----------
    confusion : int64 array (C, C)
        Rows are true classes, columns predicted classes.

    Examples
    --------
    The third class has no clips, so the mean leaves it out, though it was predicted once.

    >>> scores = metrics_of(np.array([[3, 0, 1], [1, 1, 0], [0, 0, 0]]))
    >>> scores.top1, scores.mean_class_accuracy, scores.classes_with_support
    (0.6666666666666666, 0.625, 2)
    """
    return _metrics(_cells(confusion), len(confusion))


def _metrics(cells: Ints, classes: int) -> Metrics:
    true, guess, number = cells.T
    support, predicted, hits = np.zeros((3, classes), np.int64)
    np.add.at(support, true, number)
    np.add.at(predicted, guess, number)
    np.add.at(hits, true[true == guess], number[true == guess])
    clips, present = int(number.sum()), support > 0
    precision, recall, f1 = (np.full(classes, np.nan) for _ in range(3))
    precision[present] = hits[present] / np.maximum(predicted[present], 1)
    recall[present] = hits[present] / support[present]
    f1[present] = 2 * hits[present] / (support[present] + predicted[present])
    return Metrics(
        clips=clips,
        classes_with_support=int(present.sum()),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        predicted=predicted,
        hits=hits,
        cells=cells,
    )


def _cells(confusion: Ints) -> Ints:
    pairs = np.argwhere(confusion)
    return np.column_stack([pairs, confusion[tuple(pairs.T)]]).astype(np.int64)


def cells_of(confusion: Any) -> Ints:
    """Return the cells of a confusion matrix from `Metrics.as_dict`; see `Metrics`.

    Examples
    --------
    >>> cells_of([[3, 1], [0, 2]]).tolist()
    [[0, 0, 3], [0, 1, 1], [1, 1, 2]]
    >>> cells_of({"cells": [[0, 0, 3]]}).tolist()
    [[0, 0, 3]]
    """
    if isinstance(confusion, Mapping):
        return np.array(confusion["cells"], np.int64).reshape(-1, 3)
    return _cells(np.array(confusion, np.int64))


def most_confused(cells: Ints, limit: int = 5) -> list[tuple[int, int, int]]:
    """Return the most frequently confused pairs of classes.

    Parameters
    ----------
    cells : int64 array (k, 3)
        From `Metrics` or `cells_of`.
    limit : int

    Returns
    -------
    list of (true class, predicted class, clips)
        Sorted by clips, descending; ties by the share of the true class, descending.

    Examples
    --------
    >>> most_confused(cells_of([[5, 2], [1, 3]]))
    [(0, 1, 2), (1, 0, 1)]
    """
    support = np.bincount(cells[:, 0], weights=cells[:, 2])
    wrong = cells[cells[:, 0] != cells[:, 1]]
    pairs = [(i, j, n) for i, j, n in wrong.tolist()]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[2] / support[pair[0]], pair))[:limit]
