"""Run a trained head on clips of a store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from featstore import InputError, Store
from models.heads import Head
from models.heads.pooling import MeanPool
from pipeline.metrics.predictions import Predictions
from pipeline.train.data.feed import Feed
from pipeline.train.data.views import mean_of, mean_probabilities, split_views
from pipeline.types import Ints

NAMED = 3  # clips in a message


@torch.inference_mode()
def predict(head: Head, feed: Feed, clips: Ints, *, batch_size: int) -> Predictions:
    """Return predictions on clips, in the order of `clips`: of augmented views, the mean.

    Parameters
    ----------
    head : Head
        Switched to evaluation mode.
    feed : Feed
        On the head's device, with the training's steps and standardisation.
    clips : int64 array (n,)
        Positions in the store; may be empty.
    batch_size : int
    """
    head.eval()
    logs, attention = [np.zeros((0, len(feed.store.classes)))], []
    for batch in feed.batches(clips, batch_size):
        outputs = [head(view, batch.mask) for view in split_views(batch.features, feed.views)]
        each = [output.logits.double().log_softmax(dim=1) for output in outputs]
        logs.append(mean_probabilities(each).cpu().numpy())
        weights = [output.attention for output in outputs if output.attention is not None]
        if weights:
            rows, mask = mean_of(weights).cpu().numpy(), batch.mask.numpy()
            attention += [row[valid] for row, valid in zip(rows, mask, strict=True)]
    return Predictions(
        clips=clips,
        labels=feed.store.labels[clips],
        log_probabilities=np.concatenate(logs),
        attention=attention or None,
    )


def means_of(feed: Feed, clips: Ints, *, batch_size: int = 256) -> Tensor:
    """Return each clip's mean over its steps and views; float tensor (n, dim of one view)."""
    means = [torch.zeros((0, feed.store.dim // feed.views), device=feed.device)]
    for batch in feed.batches(clips, batch_size):
        pooled = MeanPool()(batch.features, batch.mask.to(feed.device))[0]
        means.append(mean_of(split_views(pooled, feed.views)))
    return torch.cat(means)


def refuse_odd_features(predictions: Predictions, store: Store) -> None:
    """Raise if features with NaN made predictions NaN.

    Raises
    ------
    InputError
        The message names the clips.
    """
    odd = [clip for clip in _not_finite(predictions) if not np.isfinite(store[int(clip)]).all()]
    if odd:
        raise InputError(
            f"{store.path}: features of {_named(odd, predictions, store)} hold values that are not "
            "finite; run `featstore verify` and rebuild the store, without these clips if needed"
        )


def refuse_non_finite(predictions: Predictions, store: Store) -> None:
    """Raise if predictions are not finite, for any reason.

    Parameters
    ----------
    predictions : Predictions
    store : Store
        The store of the clips.

    Raises
    ------
    InputError
        The message names the clips.
    """
    refuse_odd_features(predictions, store)
    if len(odd := _not_finite(predictions)):
        raise InputError(
            f"the head's logits of {_named(odd, predictions, store)} of {store.path} are not "
            "finite, though their features are; train again with a lower train.lr, or with "
            "train.clip_norm 1.0"
        )


def _not_finite(predictions: Predictions) -> Ints:
    return predictions.clips[~np.isfinite(predictions.log_probabilities).all(axis=1)]


def _named(odd: Sequence[int] | Ints, predictions: Predictions, store: Store) -> str:
    """Return the number of clips and the names of the first few."""
    part = " or ".join(np.unique(store.splits[odd]))
    names = ", ".join(store.clip_ids[odd[:NAMED]])
    more = ", ..." * (len(odd) > NAMED)
    return f"{len(odd)} of {len(predictions.clips)} {part} clips ({names}{more})"
