"""What class counts say about weights and sampling. A recipe uses one of the two, or neither."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def class_weights(labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """Weigh every class by the inverse of its number of clips.

    Parameters
    ----------
    labels : int64 array (n,)
        Labels of the training clips.
    classes : int

    Returns
    -------
    float64 array (classes,)
        Mean 1 over the classes that have clips; 0 for those without.

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 2]), 3)
    array([0.5, 0. , 1.5])
    """
    counts = np.bincount(labels, minlength=classes)
    present = counts > 0
    weights = np.zeros(classes)
    weights[present] = 1 / counts[present]
    weights /= weights[present].mean()
    return weights


def sampling_probabilities(labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """Draw every class equally often.

    Parameters
    ----------
    labels : int64 array (n,)
        Labels of the training clips.
    classes : int

    Returns
    -------
    float64 array (n,)
        The probability of every clip; the sum is 1.

    Examples
    --------
    >>> sampling_probabilities(np.array([0, 0, 2]), 3)
    array([0.25, 0.25, 0.5 ])
    """
    each = class_weights(labels, classes)[labels]
    each /= each.sum()
    return each


def classes_without_clips(labels: npt.NDArray[np.int64], classes: tuple[str, ...]) -> list[str]:
    """Name the classes that no clip of `labels` belongs to.

    Examples
    --------
    >>> classes_without_clips(np.array([0, 2]), ("eating", "drinking", "reading"))
    ['drinking']
    """
    counts = np.bincount(labels, minlength=len(classes))
    return [name for name, count in zip(classes, counts, strict=True) if count == 0]
