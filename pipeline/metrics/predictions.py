"""Predictions of a part: log-probabilities, labels, attention and scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.metrics.classification import Metrics, metrics_of_predictions
from pipeline.types import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A head's predictions on clips.

    Attributes
    ----------
    clips, labels : int64 array (n,)
        Positions in the store, and true classes.
    log_probabilities : float64 array (n, C)
    attention : list of float32 arrays (steps,), or None
        Each clip's weights over its steps, for heads that attend.
    """

    clips: Ints
    labels: Ints
    log_probabilities: Floats
    attention: list[npt.NDArray[np.float32]] | None

    @property
    def predicted(self) -> Ints:
        """The most probable class of each clip, int64 (n,)."""
        classes: Ints = self.log_probabilities.argmax(axis=1)
        return classes

    @property
    def probability(self) -> Floats:
        """The probability of the predicted class, float64 (n,)."""
        highest: Floats = np.exp(self.log_probabilities.max(axis=1))
        return highest

    @property
    def loss(self) -> float:
        """The mean cross entropy, without weights or smoothing; NaN without clips."""
        if not len(self.clips):
            return np.nan
        return float(-self.log_probabilities[np.arange(len(self.labels)), self.labels].mean())

    @property
    def metrics(self) -> Metrics:
        """The scores of these predictions."""
        classes = self.log_probabilities.shape[1]
        return metrics_of_predictions(self.labels, self.predicted, classes)


def attention_entropy(attention: list[npt.NDArray[np.float32]]) -> float:
    """Return the mean over clips of entropy / log(steps), which is 1 for uniform attention.

    Parameters
    ----------
    attention : list of float arrays (steps,)
        Clips of one step are left out.

    Returns
    -------
    float
        1 if all steps weigh the same, near 0 if one step dominates; NaN without clips.

    Examples
    --------
    >>> attention_entropy([np.full(4, 0.25, np.float32), np.ones(1, np.float32)])
    1.0
    """
    ratios = [
        -(w * np.log(np.maximum(w, 1e-30))).sum() / np.log(len(w))
        for w in (weights.astype(np.float64) for weights in attention)
        if len(w) > 1
    ]
    return float(np.mean(ratios)) if ratios else np.nan
