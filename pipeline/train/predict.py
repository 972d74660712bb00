"""Run a trained head over clips of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from featstore import InputError, Store
from models.heads import Head
from pipeline.metrics.classification import Metrics, metrics_of_predictions
from pipeline.train.data.feed import Feed

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NAMED = 3  # clips in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a head says about clips.

    Attributes
    ----------
    clips, labels : int64 array (n,)
        Positions in the store, and the true classes.
    log_probabilities : float64 array (n, C)
    attention : list of float32 arrays (steps,), or None
        Each clip's weights of its own steps, for heads that attend.
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


@torch.inference_mode()
def predict(head: Head, feed: Feed, clips: Ints, *, batch_size: int) -> Predictions:
    """Classify clips, in the order given.

    Parameters
    ----------
    head : Head
        Is set to evaluation mode.
    feed : Feed
        Of the store, on the head's device, with steps and standardisation as in training.
    clips : int64 array (n,)
        Positions in the store; may be empty.
    batch_size : int
    """
    head.eval()
    logs, attention = [np.zeros((0, len(feed.store.classes)))], []
    for batch in feed.batches(clips, batch_size):
        output = head(batch.features, batch.mask)
        logs.append(output.logits.double().log_softmax(dim=1).cpu().numpy())
        if output.attention is not None:
            rows, mask = output.attention.cpu().numpy(), batch.mask.cpu().numpy()
            attention += [row[valid] for row, valid in zip(rows, mask, strict=True)]
    return Predictions(
        clips=clips,
        labels=feed.store.labels[clips],
        log_probabilities=np.concatenate(logs),
        attention=attention or None,
    )


def refuse_odd_features(found: Predictions, store: Store) -> None:
    """Refuse predictions that are no numbers because features are none.

    Raises
    ------
    InputError
        Names the clips.
    """
    odd = [clip for clip in _not_finite(found) if not np.isfinite(store[int(clip)]).all()]
    if odd:
        raise InputError(
            f"{store.path}: features of {_named(odd, found, store)} hold values that are not "
            "finite, so nothing can be said of what they show; run `featstore verify`, and build "
            "the store again, without these clips if need be"
        )


def refuse_non_finite(found: Predictions, store: Store) -> None:
    """Refuse predictions that are no numbers, whatever the reason.

    Parameters
    ----------
    found : Predictions
    store : Store
        Whose clips these are.

    Raises
    ------
    InputError
        Names the clips.
    """
    refuse_odd_features(found, store)
    if len(odd := _not_finite(found)):
        raise InputError(
            f"the head's logits of {_named(odd, found, store)} of {store.path} are not finite, "
            "though their features are; train again with a lower train.lr, or with "
            "train.clip_norm 1.0"
        )


def _not_finite(found: Predictions) -> Ints:
    return found.clips[~np.isfinite(found.log_probabilities).all(axis=1)]


def _named(odd: Sequence[int] | Ints, found: Predictions, store: Store) -> str:
    """Count clips and name the first."""
    part = " or ".join(np.unique(store.splits[odd]))
    names = ", ".join(store.clip_ids[odd[:NAMED]])
    return f"{len(odd)} of {len(found.clips)} {part} clips ({names}{', ...' * (len(odd) > NAMED)})"


def attention_entropy(attention: list[npt.NDArray[np.float32]]) -> float:
    """Tell how near attention is to uniform: the mean over clips of entropy / log(steps).

    Parameters
    ----------
    attention : list of float arrays (steps,)
        Clips of one step are left out; they have nothing to choose from.

    Returns
    -------
    float
        1 where all steps weigh the same, towards 0 where one step takes all; NaN without clips.

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
