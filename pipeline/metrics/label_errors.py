"""Find clips whose label is likely wrong, by confident learning.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", Journal
of Artificial Intelligence Research 70, 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.types import Floats, Ints


class LabelErrors(NamedTuple):
    """Clips whose label is likely wrong, the likeliest first.

    Attributes
    ----------
    clips, suggested : int64 array (n,)
        Positions in the given labels, and the class that each clip more likely has.
    margin : float64 array (n,)
        The probability of the given label minus that of the suggested one, ascending.
    """

    clips: Ints
    suggested: Ints
    margin: Floats


def label_errors(labels: Ints, probabilities: Floats) -> LabelErrors:
    """Return the clips off the diagonal of the confident joint, ranked by their margin.

    The threshold of a class is the mean probability that its own clips give it. A clip counts for
    the most probable of the classes whose threshold it reaches (equation 1 of the paper). If that
    is not its label, the label is likely wrong ("method 2", section 3.2).

    Parameters
    ----------
    labels : int64 array (n,)
    probabilities : float64 array (n, classes)
        Of a model that has not seen the clip.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]])
    >>> label_errors(np.array([0, 0, 1, 1, 1]), p).clips
    array([4])
    """
    rows, classes = np.arange(len(labels)), probabilities.shape[1]
    given = probabilities[rows, labels]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, given, minlength=classes)
    thresholds = np.full(classes, np.inf)  # a class without clips is never suggested
    np.divide(sums, counts, out=thresholds, where=counts > 0)
    confident = np.where(probabilities >= thresholds, probabilities, -np.inf)
    best = confident.argmax(axis=1)
    wrong = np.flatnonzero((confident[rows, best] > -np.inf) & (best != labels))
    margin = given[wrong] - probabilities[wrong, best[wrong]]
    order = np.argsort(margin, kind="stable")
    return LabelErrors(wrong[order], best[wrong][order], margin[order])
