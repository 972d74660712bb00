"""Calibration error and temperature scaling.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.types import Floats, Ints

BINS = 15
COOLEST, HOTTEST = 0.05, 20.0
_GOLDEN = (math.sqrt(5) - 1) / 2
_TOLERANCE = 1e-5  # of the logarithm of the temperature
_BLOCK = 2**20  # log-probabilities scaled at a time


@dataclass(frozen=True, slots=True)
class Reliability:
    """Accuracy and confidence of predictions, in confidence bins of equal width.

    Attributes
    ----------
    count : int64 array (bins,)
    confidence, accuracy : float64 arrays (bins,)
        The mean probability of the predicted class and the share of correct clips; NaN in an
        empty bin.
    """

    count: Ints
    confidence: Floats
    accuracy: Floats

    @property
    def error(self) -> float:
        """The expected calibration error; NaN without clips."""
        full = self.count > 0
        if not full.any():
            return math.nan
        gaps = np.abs(self.accuracy[full] - self.confidence[full])
        return float(np.average(gaps, weights=self.count[full]))


def scaled(log_probabilities: Floats, temperature: float) -> Floats:
    """Return log-probabilities at a temperature; each clip's most probable class stays the same.

    Parameters
    ----------
    log_probabilities : float64 array (n, C)
        Logits work as well: they differ by a constant per clip.
    temperature : float

    Returns
    -------
    float64 array (n, C)
        Log-probabilities.
    """
    logits = log_probabilities / temperature
    logits = logits - logits.max(axis=1, keepdims=True)
    shifted: Floats = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return shifted


def reliability(log_probabilities: Floats, labels: Ints, *, bins: int = BINS) -> Reliability:
    """Return accuracy and confidence in the bins ``((m - 1) / bins, m / bins]``.

    Parameters
    ----------
    log_probabilities : float64 array (n, C)
    labels : int64 array (n,)
    bins : int

    Examples
    --------
    Three clips at 80 % confidence, two of them correct:

    >>> log_probabilities = np.log([[0.8, 0.2]] * 3)
    >>> round(reliability(log_probabilities, np.array([0, 0, 1])).error, 4)
    0.1333
    """
    confidence = np.exp(log_probabilities.max(axis=1, initial=-np.inf))
    return reliability_of(confidence, log_probabilities.argmax(axis=1) == labels, bins=bins)


def reliability_of(
    confidence: Floats, right: npt.NDArray[np.bool_], *, bins: int = BINS
) -> Reliability:
    """Return accuracy and confidence in the bins ``((m - 1) / bins, m / bins]``.

    Parameters
    ----------
    confidence : float64 array (n,)
        The probability of each predicted class.
    right : bool array (n,)
        Whether each prediction is right.
    bins : int
    """
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    means = [np.bincount(bin_of, values, minlength=bins) for values in (confidence, right)]
    empty = np.where(count > 0, count, np.nan)
    return Reliability(count.astype(np.int64), means[0] / empty, means[1] / empty)


def negative_log_likelihood(log_probabilities: Floats, labels: Ints) -> float:
    """Return the mean of -log p(label); NaN without clips."""
    if not len(labels):
        return math.nan
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def fit_temperature(log_probabilities: Floats, labels: Ints) -> float:
    """Return the temperature that maximises the likelihood of the labels.

    The likelihood is concave in 1 / temperature, so a golden-section search finds its optimum. If
    every clip is correct there is no optimum, and the bound is returned.

    Parameters
    ----------
    log_probabilities : float64 array (n, C)
        From val, never from test; at least one clip.
    labels : int64 array (n,)

    Returns
    -------
    float
        Between 0.05 and 20; above 1 if the head is overconfident.
    """
    rows = max(1, _BLOCK // log_probabilities.shape[1])
    starts = range(0, len(labels), rows)

    def cost(log_temperature: float) -> float:
        temperature, total = math.exp(log_temperature), 0.0
        for first in starts:  # blocks fit the cache and need little memory
            block = slice(first, first + rows)
            logs = scaled(log_probabilities[block], temperature)
            total += negative_log_likelihood(logs, labels[block]) * len(logs)
        return total / len(labels)

    low, high = math.log(COOLEST), math.log(HOTTEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = cost(left), cost(right)
    while high - low > _TOLERANCE:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = cost(right)
    return math.exp((low + high) / 2)


def calibration(predictions: dict[str, tuple[Floats, Ints]]) -> dict[str, Any]:
    """Fit the temperature on val, and return the errors of val and test before and after.

    Parameters
    ----------
    predictions : dict of str to (log_probabilities, labels)
        For ``val``, which has clips, and ``test``, which may have none.

    Returns
    -------
    dict
        ``temperature``, ``bins`` and, by part, ``ece`` and ``nll`` unscaled, and ``ece_scaled``
        and ``nll_scaled`` at that temperature.
    """
    temperature = fit_temperature(*predictions["val"])
    errors = {part: errors_at(temperature, *arrays) for part, arrays in predictions.items()}
    return {"temperature": temperature, "bins": BINS, **errors}


def errors_at(temperature: float, log_probabilities: Floats, labels: Ints) -> dict[str, float]:
    """Return the calibration errors ``ece`` and ``nll``, and both ``_scaled``.

    Parameters
    ----------
    temperature : float
        The temperature of the scaled errors.
    log_probabilities : float64 array (n, C)
    labels : int64 array (n,)
    """
    errors, after = {}, scaled(log_probabilities, temperature)
    for suffix, logs in (("", log_probabilities), ("_scaled", after)):
        errors[f"ece{suffix}"] = reliability(logs, labels).error
        errors[f"nll{suffix}"] = negative_log_likelihood(logs, labels)
    return errors
