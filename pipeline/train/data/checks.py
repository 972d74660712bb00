"""What must hold before anything is trained, and what a reader of its scores should know."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featstore import InputError, Store
from featstore.errors import FeatstoreError
from featstore.manage.catalogue import entries
from featstore.reading.store import open_store
from pipeline.train.data.duplicates import MOST_BYTES, MOST_CLIPS, Duplicates, near_duplicates
from pipeline.train.data.stores import missing_clips
from pipeline.train.recipes.load import Recipe

Parts = dict[str, npt.NDArray[np.int64]]
_ROUNDED = 5e-5  # values of --normalise may have been typed with four places


def checked_parts(store: Store, recipe: Recipe) -> Parts:
    """Return the positions of the usable clips of train, val and test.

    Parameters
    ----------
    store : Store
    recipe : Recipe

    Raises
    ------
    InputError
        If the recipe's number of classes is not the store's, train or val is empty, parts share a
        subject, or a video of any of the stores where subjects are not known, the pixels'
        statistics were measured on more or fewer clips than train has, or nothing is left of any
        clip when each is standardised by itself. An empty test part is allowed.
    """
    wanted, given = recipe.head.num_classes, len(store.classes)
    if wanted is not None and wanted != given:
        raise InputError(
            f"head.num_classes is {wanted}, but the class list of {store.path} has {given}; leave "
            "it out, or train on the store that the recipe was written for"
        )
    for own in store.stores:  # every view has videos of its own
        _refuse_shared_subjects(own, store.clip_ids)
        _refuse_other_statistics(own)
    parts = {part: store.split(part) for part in ("train", "val", "test")}
    for part in ("train", "val"):
        if not len(parts[part]):
            raise InputError(
                f"{store.path} has no usable {part} clips ({(store.splits == part).sum()} in all); "
                "training needs some to learn from and some to choose by: build with another split"
            )
    if _single_steps(store, recipe) == len(store.usable):
        raise InputError(
            f"all clips of {store.path} have a single step, of which nothing is left when each is "
            "standardised by itself; set data.standardise to none or train"
        )
    return parts


def _single_steps(store: Store, recipe: Recipe) -> int:
    """Count the clips of which standardising leaves nothing."""
    by_itself = recipe.data.standardise == "clip"
    return int((store.row_size[store.usable] == 1).sum()) if by_itself else 0


def _refuse_shared_subjects(store: Store, clip_ids: npt.NDArray[np.str_]) -> None:
    """Refuse one person in two parts; where people are not known, one video."""
    known = store.subjects_known
    who_is_in, what = (store.subjects, "subjects") if known else (store.videos, "videos")
    read = np.isin(store.clip_ids, clip_ids)
    homes: dict[str, set[str]] = {}
    for subject, part in zip(who_is_in[read].tolist(), store.splits[read].tolist(), strict=True):
        homes.setdefault(subject, set()).add(part)
    shared = [f"{who} ({', '.join(sorted(home))})" for who, home in homes.items() if len(home) > 1]
    if shared:
        raise InputError(
            f"{store.path} has {what} in more than one part: {'; '.join(sorted(shared))}; scores "
            "on people seen in training say nothing about others: build with another split"
        )


def _refuse_other_statistics(store: Store) -> None:
    """Refuse statistics that were measured on more or fewer clips than train can have given."""
    statistics = store.attributes.get("statistics", {})
    if statistics.get("origin") != "split":
        return
    train = store.splits == "train"
    most, least = int(train.sum()), int((train & (store.status == 0)).sum())
    if not least <= statistics["clips"] <= most:
        raise InputError(
            f"{store.path}: mean and std of its pixels were measured on {statistics['clips']} "
            f"clips, and its train part has {most}, so they belong to another split; build the "
            "store again"
        )


def concerns(store: Store, parts: Parts, recipe: Recipe) -> list[str]:
    """Say what may flatter or spoil the scores though training goes on, one sentence an entry.

    Parameters
    ----------
    store : Store
    parts : dict
        As `checked_parts` gives them.
    recipe : Recipe
    """
    found = [*missing_clips(store), *_near_duplicates(store, parts)]
    if count := _single_steps(store, recipe):
        found.append(
            f"{count} of {len(store.usable)} clips have a single step, of which nothing is left "
            "when each clip is standardised by itself."
        )
    found += [_fixed_statistics(own) for own in store.stores]
    return [sentence for sentence in found if sentence]


def other_store(baseline: Mapping[str, Any] | None, store: Store) -> list[str]:
    """Say that the run to compare with names another store, in one sentence or none.

    Parameters
    ----------
    baseline : mapping or None
        As `pipeline.runs.files.compare_with` gives it.
    store : Store
    """
    if baseline is None or baseline["store_key"] == store.key:
        return []
    return [
        f"the baseline {baseline['name']} names another store, {baseline['store_key'][:12]}: a "
        "difference will be one of features as well"
    ]


def _near_duplicates(store: Store, parts: Parts) -> list[str]:
    """Say that clips of val or test repeat training clips, or clips of test those of val."""
    total, size = sum(map(len, parts.values())), store.layout.steps * store.dim * 4
    if total > MOST_CLIPS or size > MOST_BYTES:
        return [
            f"Near-duplicate clips across parts were not looked for: there are {total:,} clips of "
            f"{size / 1e9:.1f} GB, and that is done for up to {MOST_CLIPS:,} of "
            f"{MOST_BYTES / 1e9:.0f} GB."
        ]
    of_train, of_val = near_duplicates(store, parts["train"], parts["val"], parts["test"])
    return [
        _repeated(store, of_train, "training", "scores on them say little about new clips"),
        _repeated(store, of_val, "val", "the epoch is chosen by val, so scores on them flatter"),
    ]


def _repeated(store: Store, same: Duplicates, known: str, so: str) -> str:
    if not (count := len(same.clips)):
        return ""
    clip, twin = same.clips[0], same.twins[0]
    counts = ", ".join(
        f"{number} of {part}"
        for part in ("val", "test")
        if (number := int((store.splits[same.clips] == part).sum()))
    )
    return (
        f"{counts} {'clip is' if count == 1 else 'clips are'} nearly the same as a {known} clip "
        f"(cosine distance of mean features below {same.threshold:.1g}), such as "
        f"{store.clip_ids[clip]} of {store.splits[clip]} and {store.clip_ids[twin]} of "
        f"{store.splits[twin]}: {so}."
    )


def _fixed_statistics(store: Store) -> str:
    """Say that the fixed mean and std are those of another split, measured on val or test clips."""
    statistics = store.attributes.get("statistics", {})
    if statistics.get("origin") != "fixed" or not isinstance(store.path, Path):
        return ""
    held_out = _content(store, "val") | _content(store, "test")
    shared: dict[str, int] = {}
    for entry in entries(store.path.parent):
        if _same_values(entry.attributes.get("statistics", {}), statistics):
            with suppress(FeatstoreError):  # a damaged neighbour is no reason not to train here
                other = open_store(entry.path)
                shared[other.title] = len(_content(other, "train") & held_out)
    if not shared or not min(shared.values()):  # measured on nobody's clips, or on none of these
        return ""
    title, count = next(iter(shared.items()))
    return (
        f"Pixels are normalised with the mean and std of {title}, whose training clips include "
        f"{count} val or test clips of this split: build with --normalise split."
    )


def _content(store: Store, part: str) -> set[tuple[str, int, int]]:
    """Return the intervals of videos, by content, that are clips of a part."""
    return {(key.video, key.start, key.stop) for key in store.clip_keys() if key.split == part}


def _same_values(measured: dict[str, Any], fixed: dict[str, Any]) -> bool:
    if measured.get("origin") != "split" or len(measured["mean"]) != len(fixed["mean"]):
        return False
    return all(
        np.allclose(measured[name], fixed[name], rtol=0, atol=_ROUNDED) for name in ("mean", "std")
    )
