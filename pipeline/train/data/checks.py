"""Checks before a training, and caveats about its scores."""

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
from pipeline.train.data.views import fusion_of
from pipeline.train.recipes.load import Recipe

Parts = dict[str, npt.NDArray[np.int64]]
_ROUNDED = 5e-5  # people may type the values of --normalise with four decimals


def checked_parts(store: Store, recipe: Recipe) -> Parts:
    """Return the positions of the usable clips of train, val and test.

    Parameters
    ----------
    store : Store
    recipe : Recipe

    Raises
    ------
    InputError
        If the recipe's number of classes differs from the store's, train or val is empty, or parts
        share a subject (a video if subjects are unknown). Also if the pixels' statistics were
        measured on another number of clips than train has, standardising each clip by itself
        leaves only zeros, or a clip has no label, or ``data.fusion`` is views for stores that are
        no views of one build. An empty test part is allowed.
    """
    fusion_of(store, recipe)  # refuses stores that are not views
    num_classes, store_classes = recipe.head.num_classes, len(store.classes)
    if num_classes is not None and num_classes != store_classes:
        raise InputError(
            f"head.num_classes is {num_classes}, but the class list of {store.path} has "
            f"{store_classes}; remove it, or train on the store that the recipe was written for"
        )
    for member in store.stores:  # every view has its own videos
        _refuse_shared_subjects(member, store.clip_ids)
        _refuse_other_statistics(member)
    parts = {part: store.split(part) for part in ("train", "val", "test")}
    for part in ("train", "val"):
        if not len(parts[part]):
            raise InputError(
                f"{store.path} has no usable {part} clips ({(store.splits == part).sum()} in all); "
                "training needs clips in both train and val; build with another split"
            )
    if unlabelled := int((store.labels[store.usable] < 0).sum()):
        raise InputError(
            f"{store.path} has {unlabelled} clips without a label, so it is for predictions "
            "and not for training; label them and build again"
        )
    if _single_steps(store, recipe) == len(store.usable):
        raise InputError(
            f"all clips of {store.path} have a single step, which data.standardise=clip makes "
            "zero; set data.standardise to none or train"
        )
    return parts


def _single_steps(store: Store, recipe: Recipe) -> int:
    """Return the number of clips that standardising makes zero."""
    by_itself = recipe.data.standardise == "clip"
    return int((store.row_size[store.usable] == 1).sum()) if by_itself else 0


def _refuse_shared_subjects(store: Store, clip_ids: npt.NDArray[np.str_]) -> None:
    """Raise if two parts share a subject, or a video if subjects are unknown."""
    by_subject = store.subjects_known
    owners, noun = (store.subjects, "subjects") if by_subject else (store.videos, "videos")
    read = np.isin(store.clip_ids, clip_ids)
    parts_of: dict[str, set[str]] = {}
    for subject, part in zip(owners[read].tolist(), store.splits[read].tolist(), strict=True):
        parts_of.setdefault(subject, set()).add(part)
    shared = [
        f"{owner} ({', '.join(sorted(parts))})"
        for owner, parts in parts_of.items()
        if len(parts) > 1
    ]
    if shared:
        raise InputError(
            f"{store.path} has {noun} in more than one part: {'; '.join(sorted(shared))}; scores "
            "on people seen in training say nothing about other people; build with another split"
        )


def _refuse_other_statistics(store: Store) -> None:
    """Raise if pixel statistics were measured on another number of clips than train has."""
    statistics = store.attributes.get("statistics", {})
    if statistics.get("origin") != "split":
        return
    train = store.splits == "train"
    most, least = int(train.sum()), int((train & (store.status == 0)).sum())
    if not least <= statistics["clips"] <= most:
        raise InputError(
            f"{store.path}: mean and std of its pixels were measured on {statistics['clips']} "
            f"clips, but its train part has {most}, so they belong to another split; rebuild the "
            "store"
        )


def concerns(store: Store, parts: Parts, recipe: Recipe) -> list[str]:
    """Return caveats that may bias the scores but do not stop the training.

    Parameters
    ----------
    store : Store
    parts : dict
        The result of `checked_parts`.
    recipe : Recipe
    """
    sentences = [*missing_clips(store), *_near_duplicates(store, parts)]
    if count := _single_steps(store, recipe):
        sentences.append(
            f"{count} of {len(store.usable)} clips have a single step, which "
            "data.standardise=clip makes zero."
        )
    sentences += [_fixed_statistics(member) for member in store.stores]
    return [sentence for sentence in sentences if sentence]


def other_store(baseline: Mapping[str, Any] | None, store: Store) -> list[str]:
    """Return a sentence if the baseline run used another store, else nothing.

    Parameters
    ----------
    baseline : mapping or None
        The result of `pipeline.runs.files.compare_with`.
    store : Store
    """
    if baseline is None or baseline["store_key"] == store.key:
        return []
    return [
        f"the baseline {baseline['name']} uses another store, {baseline['store_key'][:12]}: the "
        "features differ too"
    ]


def _near_duplicates(store: Store, parts: Parts) -> list[str]:
    """Return sentences on val or test clips that nearly repeat training or val clips."""
    total, size = sum(map(len, parts.values())), store.layout.steps * store.dim * 4
    if total > MOST_CLIPS or size > MOST_BYTES:
        return [
            f"The search for near-duplicate clips across parts was skipped: {total:,} clips of "
            f"{size / 1e9:.1f} GB exceed the limit of {MOST_CLIPS:,} clips or "
            f"{MOST_BYTES / 1e9:.0f} GB."
        ]
    of_train, of_val = near_duplicates(store, parts["train"], parts["val"], parts["test"])
    return [
        _repeated(store, of_train, "training", "scores on them say little about new clips"),
        _repeated(store, of_val, "val", "val chooses the epoch, so their scores may be too high"),
    ]


def _repeated(store: Store, same: Duplicates, other_part: str, so: str) -> str:
    if not (count := len(same.clips)):
        return ""
    clip, twin = same.clips[0], same.twins[0]
    counts = ", ".join(
        f"{number} of {part}"
        for part in ("val", "test")
        if (number := int((store.splits[same.clips] == part).sum()))
    )
    return (
        f"{counts} {'clip is' if count == 1 else 'clips are'} nearly the same as a {other_part} "
        f"clip (cosine distance of mean features below {same.threshold:.1g}), such as "
        f"{store.clip_ids[clip]} of {store.splits[clip]} and {store.clip_ids[twin]} of "
        f"{store.splits[twin]}: {so}."
    )


def _fixed_statistics(store: Store) -> str:
    """Return a sentence if the fixed mean and std were measured on val or test clips."""
    statistics = store.attributes.get("statistics", {})
    if statistics.get("origin") != "fixed" or not isinstance(store.path, Path):
        return ""
    held_out = _content(store, "val") | _content(store, "test")
    shared: dict[str, int] = {}
    for entry in entries(store.path.parent):
        if _same_values(entry.attributes.get("statistics", {}), statistics):
            with suppress(FeatstoreError):  # a damaged neighbour does not stop this training
                other = open_store(entry.path)
                shared[other.title] = len(_content(other, "train") & held_out)
    if not shared or not min(shared.values()):  # no match, or no shared clips
        return ""
    title, count = next(iter(shared.items()))
    return (
        f"Pixels are normalised with the mean and std of {title}, whose training clips include "
        f"{count} val or test clips of this split: build with --normalise split."
    )


def _content(store: Store, part: str) -> set[tuple[str, int, int]]:
    """Return the clips of a part as intervals of videos, by content."""
    return {(key.video, key.start, key.stop) for key in store.clip_keys() if key.split == part}


def _same_values(measured: dict[str, Any], fixed: dict[str, Any]) -> bool:
    if measured.get("origin") != "split" or len(measured["mean"]) != len(fixed["mean"]):
        return False
    return all(
        np.allclose(measured[name], fixed[name], rtol=0, atol=_ROUNDED) for name in ("mean", "std")
    )
