"""Divide train and val into what recipes are trained on and compared on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from featstore import Store
from featstore.text import count_of
from pipeline.train.data.checks import Parts
from pipeline.types import Clips

# The standard error of an accuracy on n clips is 0.5 / sqrt(n) at most: 2.5 points with 400. Below
# that recipes cannot be told apart by val, and trainings are short enough to make several.
FEW_CLIPS = 400
FOLDS = 3  # each trains on two thirds of train and val, about as many clips as train has

Fold = tuple[Clips, Clips]


def folds_of(store: Store, parts: Parts) -> tuple[list[Fold], str]:
    """Return what candidates train on and are scored on, and a sentence that says why.

    That is train and val; with fewer than `FEW_CLIPS` val clips it is `FOLDS` folds of both, each
    person in one of them, where that scores more clips. A clip counts only if its class is among
    the training clips of its fold.
    """
    train, val = parts["train"], parts["val"]
    what = "subject" if store.subjects_known else "video"
    who = store.subjects if store.subjects_known else store.videos
    error = f"{100 * 0.5 / math.sqrt(len(val)):.1f} points"
    single = f"The recipes are compared on val: {count_of(len(val), 'clip')}, standard error of "
    single += f"an accuracy at most {error}."
    if len(val) >= FEW_CLIPS:
        return [(train, val)], single
    clips = np.sort(np.concatenate([train, val]))
    groups = who[clips]
    count = min(FOLDS, len(np.unique(groups)))
    folds = _grouped(store, clips, groups, count) if count > 1 else []
    if (scored := sum(len(fold[1]) for fold in folds)) <= len(val):
        return [(train, val)], single
    return folds, (
        f"Val has {count_of(len(val), 'clip')}, with a standard error of an accuracy of up to "
        f"{error}: the recipes are compared by cross-validation in {count} folds of train and "
        f"val, each {what} in one fold, on {count_of(scored, 'clip')}."
    )


def _grouped(store: Store, clips: Clips, groups: Any, count: int) -> list[Fold]:
    """Divide clips into folds that share no group."""
    from sklearn.model_selection import GroupKFold  # takes a second to import

    folds = []
    for learnt, held_out in GroupKFold(count).split(clips, groups=groups):
        train, val = clips[learnt], clips[held_out]
        val = val[np.isin(store.labels[val], store.labels[train])]
        if len(val):
            folds.append((train, val))
    return folds
