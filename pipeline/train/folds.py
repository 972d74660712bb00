"""Divide train and val into what recipes are trained on and compared on.

With ``train.folds`` above 1, a run has one head for each fold: it learns from the other folds, and
its own fold chooses its epoch. Features are standardised by the statistics of train and val.
"""

from __future__ import annotations

import math

import numpy as np

from featstore import InputError, Store
from featstore.text import count_of
from pipeline.train.data.checks import Parts
from pipeline.train.recipes.load import Recipe
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
    count = min(FOLDS, len(np.unique(who[train_and_val(parts)])))
    folds = divided(store, parts, count) if count > 1 else []
    if (scored := sum(len(fold[1]) for fold in folds)) <= len(val):
        return [(train, val)], single
    return folds, (
        f"Val has {count_of(len(val), 'clip')}, with a standard error of an accuracy of up to "
        f"{error}: the recipes are compared by cross-validation in {count} folds of train and "
        f"val, each {what} in one fold, on {count_of(scored, 'clip')}."
    )


def divided(store: Store, parts: Parts, count: int) -> list[Fold]:
    """Divide train and val into folds that share no person, or no video if people are unknown.

    Parameters
    ----------
    store : Store
    parts : dict
        Positions of the clips of train and val.
    count : int
        At least 2.

    Returns
    -------
    list of (int64 array, int64 array)
        The clips to learn from and the clips to score, for each fold. Clips whose class is not
        among the first are not scored, unless that leaves none.

    Raises
    ------
    InputError
        If there are fewer people than folds.
    """
    from sklearn.model_selection import GroupKFold  # takes a second to import

    clips = train_and_val(parts)
    groups = store.subjects[clips] if store.subjects_known else store.videos[clips]
    if (most := len(np.unique(groups))) < count:
        what = "subject" if store.subjects_known else "video"
        raise InputError(
            f"train.folds is {count}, but train and val of {store.path} have "
            f"{count_of(most, what)}, and each is in one fold; set train.folds to at most {most}"
        )
    folds = []
    for learnt, held_out in GroupKFold(count).split(clips, groups=groups):
        train, val = clips[learnt], clips[held_out]
        scored = val[np.isin(store.labels[val], store.labels[train])]
        folds.append((train, scored if len(scored) else val))
    return folds


def train_and_val(parts: Parts) -> Clips:
    """Return the positions of the clips of train and val, ascending."""
    both: Clips = np.sort(np.concatenate([parts["train"], parts["val"]]))
    return both


def learnt_clips(parts: Parts, recipe: Recipe) -> Clips:
    """Return the positions of the clips that a run learns from."""
    return train_and_val(parts) if recipe.train.folds > 1 else parts["train"]
