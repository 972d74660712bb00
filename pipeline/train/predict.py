"""Run a trained head over clips of a store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from featstore import InputError, Store
from models.heads import Head
from pipeline.metrics.predictions import Predictions
from pipeline.train.data.feed import Feed
from pipeline.types import Ints

NAMED = 3  # clips in a message


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
