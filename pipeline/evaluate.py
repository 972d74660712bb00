"""Run a trained head over clips of a store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.heads import Head
from pipeline.feed import Feed
from pipeline.metrics import Metrics, confusion_matrix, metrics_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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
        return metrics_of(confusion_matrix(self.labels, self.predicted, classes))


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
