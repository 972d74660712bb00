"""Classification metrics of one part, all from its confusion matrix.

Averages run over the classes that have clips in the part, as scikit-learn does with ``labels=``
those. Macro averages elsewhere often count a class without clips as 0, as soon as somebody
predicts it or even always; a score then depends on which classes a split happens to hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Metrics of one part; every score is a fraction, NaN where nothing is there to score.

    Attributes
    ----------
    clips, classes_with_support : int
    top1, mean_class_accuracy, macro_f1, weighted_f1 : float
        Mean class accuracy is the mean recall; all averages are over classes with support.
    precision, recall, f1 : float64 array (C,)
        NaN for a class without support; precision is 0 for a class that is never predicted.
    support, predicted : int64 array (C,)
        How many clips belong to each class, how many were taken for it.
    confusion : int64 array (C, C)
        Rows are true classes, columns predicted ones.
    """

    clips: int
    classes_with_support: int
    top1: float
    mean_class_accuracy: float
    macro_f1: float
    weighted_f1: float
    precision: Floats
    recall: Floats
    f1: Floats
    support: Counts
    predicted: Counts
    confusion: Counts

    def as_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Give the metrics as plain values, with NaN, and one row of scores a class."""
        rows = zip(
            classes,
            *(a.tolist() for a in (self.precision, self.recall, self.f1)),
            *(a.tolist() for a in (self.support, self.predicted)),
            strict=True,
        )
        names = ("class", "precision", "recall", "f1", "support", "predicted")
        return {
            "top1": self.top1,
            "mean_class_accuracy": self.mean_class_accuracy,
            "macro_f1": self.macro_f1,
            "weighted_f1": self.weighted_f1,
            "classes_with_support": self.classes_with_support,
            "clips": self.clips,
            "per_class": [dict(zip(names, row, strict=True)) for row in rows],
            "confusion": self.confusion.tolist(),
        }


def confusion_matrix(labels: Counts, predictions: Counts, classes: int) -> Counts:
    """Count how often each class was taken for each.

    Parameters
    ----------
    labels, predictions : int64 array (n,)
    classes : int

    Returns
    -------
    int64 array (classes, classes)
        Rows are true classes, columns predicted ones.
    """
    cells = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def metrics_of(confusion: Counts) -> Metrics:
    """Score a confusion matrix.

    Parameters
    ----------
    confusion : int64 array (C, C)
        Rows are true classes, columns predicted ones.

    Examples
    --------
    The third class has no clips here: it is left out of the mean, though it was predicted once.

    >>> scores = metrics_of(np.array([[3, 0, 1], [1, 1, 0], [0, 0, 0]]))
    >>> scores.top1, scores.mean_class_accuracy, scores.classes_with_support
    (0.6666666666666666, 0.625, 2)
    """
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    hits, clips, has = np.diag(confusion), int(confusion.sum()), support > 0
    precision, recall, f1 = (np.full(len(confusion), np.nan) for _ in range(3))
    precision[has] = hits[has] / np.maximum(predicted[has], 1)
    recall[has] = hits[has] / support[has]
    f1[has] = 2 * hits[has] / (support[has] + predicted[has])
    return Metrics(
        clips=clips,
        classes_with_support=int(has.sum()),
        top1=float(hits.sum() / clips) if clips else np.nan,
        mean_class_accuracy=float(recall[has].mean()) if clips else np.nan,
        macro_f1=float(f1[has].mean()) if clips else np.nan,
        weighted_f1=float((f1[has] * support[has]).sum() / clips) if clips else np.nan,
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        predicted=predicted,
        confusion=confusion,
    )


def most_confused(confusion: Counts, limit: int = 5) -> list[tuple[int, int, int]]:
    """Find the pairs of classes that are mistaken most often.

    Parameters
    ----------
    confusion : int64 array (C, C)
    limit : int

    Returns
    -------
    list of (true class, predicted class, clips)
        Most clips first; among equals, the larger share of the true class first.

    Examples
    --------
    >>> most_confused(np.array([[5, 2], [1, 3]]))
    [(0, 1, 2), (1, 0, 1)]
    """
    wrong = confusion * (1 - np.eye(len(confusion), dtype=np.int64))
    support = confusion.sum(axis=1)
    pairs = [(i, j, int(wrong[i, j])) for i, j in np.argwhere(wrong).tolist()]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[2] / support[pair[0]], pair))[:limit]
