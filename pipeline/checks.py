"""What must hold before anything is trained."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from featstore import InputError, Store
from pipeline.config import Recipe

Parts = dict[str, npt.NDArray[np.int64]]


def checked_parts(store: Store, recipe: Recipe) -> Parts:
    """Return the positions of the usable clips of train, val and test.

    Parameters
    ----------
    store : Store
    recipe : Recipe

    Raises
    ------
    InputError
        If the recipe's number of classes is not the store's, train or val is empty, or parts
        share a subject, or a video where subjects are not known. An empty test part is allowed.
    """
    wanted, given = recipe.head.num_classes, len(store.classes)
    if wanted is not None and wanted != given:
        raise InputError(
            f"head.num_classes is {wanted}, but the class list of {store.path} has {given}; leave "
            "it out, or train on the store that the recipe was written for"
        )
    _refuse_shared_subjects(store)
    parts = {part: store.split(part) for part in ("train", "val", "test")}
    for part in ("train", "val"):
        if not len(parts[part]):
            raise InputError(
                f"{store.path} has no usable {part} clips ({(store.splits == part).sum()} in all); "
                "training needs some to learn from and some to choose by: build with another split"
            )
    return parts


def _refuse_shared_subjects(store: Store) -> None:
    """Refuse one person in two parts; where people are not known, one video."""
    known = store.subjects_known
    who_is_in, what = (store.subjects, "subjects") if known else (store.videos, "videos")
    homes: dict[str, set[str]] = {}
    for subject, part in zip(who_is_in.tolist(), store.splits.tolist(), strict=True):
        homes.setdefault(subject, set()).add(part)
    shared = [f"{who} ({', '.join(sorted(home))})" for who, home in homes.items() if len(home) > 1]
    if shared:
        raise InputError(
            f"{store.path} has {what} in more than one part: {'; '.join(sorted(shared))}; scores "
            "on people seen in training say nothing about others: build with another split"
        )
