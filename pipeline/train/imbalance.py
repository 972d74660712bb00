"""Class weights, sampling and priors against imbalance. A recipe uses at most one of them.

With n clips of a class:

    inverse                 weight 1 / n: all classes count equally
    sqrt                    weight 1 / sqrt(n): a compromise, as in Mahajan et al., "Exploring
                            the limits of weakly supervised pretraining", ECCV 2018
    effective               weight (1 - beta) / (1 - beta^n): Cui et al., "Class-balanced loss
                            based on effective number of samples", CVPR 2019
    focal                   see `models.losses.focal`
    balanced softmax        log n is added to the logits in training
    logit adjustment        tau log(n / all n) is added to the logits in training; for both see
                            `models.losses.adjusted`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.types import Floats, Ints

if TYPE_CHECKING:
    from pipeline.train.recipes.fields import Train

Rule = Literal["inverse", "sqrt", "effective"]
RULES: dict[str, Rule] = {"": "inverse", "_sqrt": "sqrt", "_effective": "effective"}


def class_weights(
    labels: Ints, classes: int, *, rule: Rule = "inverse", beta: float = 0.999
) -> Floats:
    """Return a weight for every class from its number of clips.

    Parameters
    ----------
    labels : int64 array (n,)
        Labels of the training clips.
    classes : int
    rule : {"inverse", "sqrt", "effective"}
    beta : float
        Used by effective only: 0 gives equal weights, values near 1 approach the inverse.

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
    match rule:
        case "inverse":
            weights[present] = 1 / counts[present]
        case "sqrt":
            weights[present] = 1 / np.sqrt(counts[present])
        case "effective":
            weights[present] = (1 - beta) / (1 - beta ** counts[present])
    weights /= weights[present].mean()
    return weights


def sampling_probabilities(
    labels: Ints, classes: int, *, rule: Rule = "inverse", beta: float = 0.999
) -> Floats:
    """Return each clip's sampling probability from its class weight.

    With the inverse rule every class is drawn equally often.

    Parameters
    ----------
    labels : int64 array (n,)
        Labels of the training clips.
    classes : int
    rule, beta
        See `class_weights`.

    Returns
    -------
    float64 array (n,)
        Sums to 1.

    Examples
    --------
    >>> sampling_probabilities(np.array([0, 0, 2]), 3)
    array([0.25, 0.25, 0.5 ])
    """
    each = class_weights(labels, classes, rule=rule, beta=beta)[labels]
    each /= each.sum()
    return each


def log_priors(labels: Ints, classes: int) -> Floats:
    """Return the log of every class's share of the clips, centred.

    A softmax ignores constants, so the mean over the classes that have clips is subtracted. A class
    without clips gets 0 and so counts as a class of average size: training lowers its logit, and
    nothing becomes infinite.

    Parameters
    ----------
    labels : int64 array (n,)
        Labels of the training clips.
    classes : int

    Returns
    -------
    float64 array (classes,)

    Examples
    --------
    >>> log_priors(np.array([0, 0, 0, 0, 2]), 3).round(3)
    array([ 0.693,  0.   , -0.693])
    """
    counts = np.bincount(labels, minlength=classes)
    present = counts > 0
    logs = np.zeros(classes)
    logs[present] = np.log(counts[present])
    logs[present] -= logs[present].mean()
    return logs


def draw_by(options: Train, labels: Ints, classes: int) -> Floats | None:
    """Return the recipe's sampling probability of every training clip.

    Parameters
    ----------
    options : Train
    labels : int64 array (n,)
        Labels of the training clips.
    classes : int

    Returns
    -------
    float64 array (n,) or None
        None if each clip comes once.
    """
    if not options.imbalance.startswith("sampler"):
        return None
    rule = RULES[options.imbalance.removeprefix("sampler")]
    return sampling_probabilities(labels, classes, rule=rule, beta=options.effective_beta)


def of_classes(options: Train, labels: Ints, classes: int) -> Floats | None:
    """Return the number per class that the recipe's loss uses.

    Parameters
    ----------
    options : Train
    labels : int64 array (n,)
        Labels of the training clips.
    classes : int

    Returns
    -------
    float64 array (classes,) or None
        Class weights, or the logit offsets of balanced softmax and logit adjustment; None for the
        other strategies.
    """
    if options.imbalance.startswith("class_weights"):
        rule = RULES[options.imbalance.removeprefix("class_weights")]
        return class_weights(labels, classes, rule=rule, beta=options.effective_beta)
    if options.imbalance == "balanced_softmax":
        return log_priors(labels, classes)
    if options.imbalance == "logit_adjustment":
        return options.adjustment_tau * log_priors(labels, classes)
    return None


def classes_without_clips(labels: Ints, classes: tuple[str, ...]) -> list[str]:
    """Return the names of the classes without clips in `labels`.

    Examples
    --------
    >>> classes_without_clips(np.array([0, 2]), ("eating", "drinking", "reading"))
    ['drinking']
    """
    counts = np.bincount(labels, minlength=len(classes))
    return [name for name, count in zip(classes, counts, strict=True) if count == 0]
