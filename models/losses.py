"""Classification losses for hard labels and soft targets, with one code path.

A hard label is converted to a one-hot row first, so both forms of a target give the same loss. With
targets t (B, C), smoothed targets s and probabilities p:

    cross entropy   sum_ic  w_c s_ic (-log p_ic)  /  sum_ic w_c t_ic
    focal           sum_ic (1 - p_ic)^gamma s_ic (-log p_ic)  /  sum_ic t_ic
    adjusted        cross entropy without weights, of logits plus log priors

With hard labels, the cross entropy equals ``torch.nn.functional.cross_entropy`` with `weight` and
`label_smoothing`; for soft targets, torch divides by B instead.

If processes share a batch, `whole` holds the targets of the whole batch. Each process then computes
its share of the loss, and the shares add up.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_targets(targets: Tensor, classes: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return targets as rows of class masses.

    Parameters
    ----------
    targets : int64 tensor (B,) or float tensor (B, C)
    classes : int

    Returns
    -------
    float tensor (B, C)

    Raises
    ------
    ValueError
        If the targets have another shape or another number of classes.
    """
    if targets.ndim == 1 and not targets.is_floating_point():
        return functional.one_hot(targets, classes).to(dtype)
    if targets.ndim != 2 or targets.shape[1] != classes:
        raise ValueError(f"targets {tuple(targets.shape)}: expected (B,) or (B, {classes})")
    return targets.to(dtype)


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    whole: Tensor | None = None,
) -> Tensor:
    """Return the cross entropy, optionally weighted by class.

    Parameters
    ----------
    logits : float tensor (B, C)
    targets : int64 tensor (B,) or float tensor (B, C)
    weight : float tensor (C,), optional
    label_smoothing : float
        Share of the target mass to spread evenly over all classes.
    whole : int64 tensor (N,) or float tensor (N, C), optional
        The targets of the whole batch, to divide by their mass; by default `targets`.

    Returns
    -------
    float tensor ()
        Zero, not NaN, if the batch has no weight.

    Examples
    --------
    >>> logits = torch.tensor([[2.0, 0.0]])
    >>> hard = cross_entropy(logits, torch.tensor([0]))
    >>> bool(hard == cross_entropy(logits, torch.tensor([[1.0, 0.0]])))
    True
    """
    log_p = logits.log_softmax(dim=1)
    mass = soft_targets(targets, logits.shape[1], dtype=log_p.dtype)
    terms = _smooth(mass, label_smoothing) * -log_p
    if whole is not None:
        mass = soft_targets(whole, logits.shape[1], dtype=log_p.dtype)
    if weight is not None:
        terms, mass = terms * weight, mass * weight
    return _ratio(terms.sum(), mass.sum())


def focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    whole: Tensor | None = None,
) -> Tensor:
    """Return the focal loss of Lin et al., "Focal loss for dense object detection", ICCV 2017.

    Equation 4. With soft targets, each class has a term with its ``(1 - p)^gamma`` and its target
    mass.

    Parameters
    ----------
    logits : float tensor (B, C)
    targets : int64 tensor (B,) or float tensor (B, C)
    gamma : float
        With 0, this is the cross entropy.
    label_smoothing : float
    whole : tensor, optional
        As in `cross_entropy`.

    Returns
    -------
    float tensor ()
    """
    log_p = logits.log_softmax(dim=1)
    mass = soft_targets(targets, logits.shape[1], dtype=log_p.dtype)
    # expm1 keeps 1 - p exact near p = 1; the floor keeps the gradient of the power finite there.
    rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).eps)
    terms = rest.pow(gamma) * _smooth(mass, label_smoothing) * -log_p
    if whole is not None:
        mass = soft_targets(whole, logits.shape[1], dtype=log_p.dtype)
    return _ratio(terms.sum(), mass.sum())


def adjusted(
    logits: Tensor,
    targets: Tensor,
    *,
    adjustment: Tensor,
    label_smoothing: float = 0.0,
    whole: Tensor | None = None,
) -> Tensor:
    """Return the cross entropy of logits plus an adjustment by class, used only in training.

    With the log of the classes' counts this is the balanced softmax, Ren et al., "Balanced
    meta-softmax for long-tailed visual recognition", NeurIPS 2020, equation 3; with tau times the
    log of their shares, the logit adjusted loss, Menon et al., "Long-tail learning via logit
    adjustment", ICLR 2021, equation 10. With tau = 1 both are equal, because a softmax ignores a
    constant added to all logits.

    Parameters
    ----------
    logits : float tensor (B, C)
    targets : int64 tensor (B,) or float tensor (B, C)
    adjustment : float tensor (C,)
        Finite.
    label_smoothing : float
    whole : tensor, optional
        As in `cross_entropy`.

    Returns
    -------
    float tensor ()
    """
    shifted = logits + adjustment
    return cross_entropy(shifted, targets, label_smoothing=label_smoothing, whole=whole)


def _smooth(mass: Tensor, label_smoothing: float) -> Tensor:
    return mass * (1.0 - label_smoothing) + label_smoothing / mass.shape[1]


def _ratio(total: Tensor, mass: Tensor) -> Tensor:
    return total / torch.where(mass > 0, mass, torch.inf)
