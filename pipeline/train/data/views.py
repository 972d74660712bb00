"""Augmented views of the same clips: one of them is drawn in training, and all are scored.

The stores of a build with ``--views`` are read side by side, as `featstore.fuse` joins them: a step
holds the features of every view, in order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featstore.errors import InputError, StoreNotFoundError
from featstore.keys import store_key
from featstore.manage.catalogue import Entry, entries
from featstore.reading.store import Store, open_store
from pipeline.system.device import upload
from pipeline.train.recipes.fields import Recipe

VIEW = "view"  # in the feature configuration of an augmented view


def fusion_of(store: Store, recipe: Recipe) -> str | None:
    """Return how several stores are combined: as the recipe says, or by what they are.

    Returns
    -------
    {"concat", "logits", "views"} or None
        None for one store.

    Raises
    ------
    InputError
        If the recipe asks for views, and the stores are not the views of one build.
    """
    if len(store.stores) == 1:
        return None
    fusion = recipe.data.fusion
    views = are_views([member.attributes.get("features", {}) for member in store.stores])
    if fusion == "views" and not views:
        raise InputError(
            f"data.fusion is views, but {store.path} are not the plain store and the augmented "
            "views of one build with --views, in this order; set data.fusion to concat or logits"
        )
    return fusion or ("views" if views else "concat")


def views_of(store: Store, recipe: Recipe) -> int:
    """Return the number of views that a step holds; 1 if stores are combined in another way."""
    return len(store.stores) if fusion_of(store, recipe) == "views" else 1


def are_views(features: Sequence[dict[str, Any]]) -> bool:
    """Tell whether feature configurations are those of a plain store and of views of it.

    Examples
    --------
    >>> are_views([{"size": 32}, {"size": 32, "view": {"number": 1}}])
    True
    >>> are_views([{"size": 32}, {"size": 64}])
    False
    """
    plain, *others = features
    return (
        bool(others)
        and VIEW not in plain
        and all(VIEW in other and without_view(other) == plain for other in others)
    )


def without_view(features: dict[str, Any]) -> dict[str, Any]:
    """Return the feature configuration of the plain store."""
    return {name: value for name, value in features.items() if name != VIEW}


def view_paths(path: Path | str, count: int) -> list[Path | str]:
    """Return the path of a plain store, and those of its augmented views in the same folder.

    Parameters
    ----------
    path : Path or str
    count : int
        How many views there are, with the plain picture.

    Raises
    ------
    InputError
        If `count` is not 1 or more, the store is in a bucket or an augmented view itself, or views
        were built both with and without flips.
    StoreNotFoundError
        If a view is missing.
    """
    if count < 1:
        raise InputError(f"--views is {count}; it must be 1 or more.")
    if count == 1:
        return [path]
    if not isinstance(path, Path):
        raise InputError(
            f"{path} is in a bucket, where views are not looked up; name every store with --store."
        )
    store = open_store(path)
    if VIEW in store.attributes.get("features", {}):
        raise InputError(
            f"{path} is an augmented view; name the plain store, or every view with --store."
        )
    paths = _by_number(store, path.parent)
    views: list[Path | str] = [path]
    for number in range(1, count):
        fit = {entry.key: entry.path for entry in paths.get(number, [])}
        if not fit:
            raise StoreNotFoundError(
                f"View {number} of {path.name} is not in {path.parent}; build it with --views "
                f"{count}, or pass a smaller --views."
            )
        if len(fit) > 1:
            raise InputError(
                f"View {number} of {path.name} was built with and without --view-flip; name every "
                "view with --store, the plain store first."
            )
        views += fit.values()
    return views


def _by_number(store: Store, folder: Path) -> dict[int, list[Entry]]:
    """Return the augmented views of a plain store by their number."""
    features, clips = store.attributes.get("features", {}), store.clip_keys()
    views: dict[int, list[Entry]] = {}
    for entry in entries(folder):
        other = entry.attributes["features"]
        if VIEW not in other or without_view(other) != features:
            continue
        key = store_key(other, store.classes, clips, subjects_known=store.subjects_known)
        if key == entry.key:  # of the same clips, labels and split
            views.setdefault(other[VIEW]["number"], []).append(entry)
    return views


def split_views(features: Tensor, count: int) -> tuple[Tensor, ...]:
    """Return the features of every view; they are side by side in the last dimension."""
    return features.chunk(count, dim=-1)


def draw_views(features: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return the features of one view of every clip, drawn at random.

    Parameters
    ----------
    features : float tensor (B, T, views * D)
    count : int
        How many views there are.
    rng : numpy.random.Generator

    Returns
    -------
    float tensor (B, T, D)
    """
    drawn = upload(rng.integers(count, size=len(features)), features.device)
    clips = torch.arange(len(features), device=features.device)
    return features.reshape(*features.shape[:2], count, -1)[clips, :, drawn]


def mean_of(views: Sequence[Tensor]) -> Tensor:
    """Return the mean over views, or the only one as it is."""
    return views[0] if len(views) == 1 else torch.stack(list(views)).mean(0)


def mean_probabilities(logs: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of the views' probabilities, from their logarithms."""
    return logs[0] if len(logs) == 1 else torch.stack(list(logs)).logsumexp(0) - math.log(len(logs))
