"""A trained run, ready to predict: its head, its backbone and its statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featstore import InputError
from featstore.errors import FeatstoreError
from featstore.text import count_of
from models.heads import Head
from pipeline.build.plan.options import default_workers
from pipeline.metrics.predictions import Predictions
from pipeline.predict.members import (
    Member,
    check_same_frames,
    is_of_views,
    likes_of,
    load_member,
)
from pipeline.predict.window_store import Rows, WindowStore
from pipeline.predict.windows import check_lengths, default_hop
from pipeline.runs.files import read_config, read_metrics
from pipeline.train.data.feed import Feed
from pipeline.train.data.standardise import Standardiser, Training, read_training
from pipeline.train.data.stores import clip_seconds
from pipeline.train.evaluate import load_head, own_store
from pipeline.train.predict import predict
from pipeline.train.recipes.load import Recipe, recipe_of
from pipeline.types import Log
from pipeline.video.cache import Cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A run with everything that its predictions need.

    Attributes
    ----------
    run : Path
    recipe : Recipe
    classes : tuple of str
    head : Head
        On `device`.
    members : tuple of Member
        One for each store; all take the same frames.
    training : Training or None
        Statistics of the training features; None where nothing is standardised.
    """

    run: Path
    recipe: Recipe
    classes: tuple[str, ...]
    head: Head
    members: tuple[Member, ...]
    training: Training | None

    @property
    def first(self) -> Member:
        """The first store's, which stands for all in what they share."""
        return self.members[0]

    @property
    def device(self) -> torch.device:
        """Where the head and the backbones are."""
        return self.first.forward.device

    @property
    def dims(self) -> tuple[int, ...]:
        """The length of a feature vector of each store."""
        return tuple(member.forward.dim for member in self.members)

    @property
    def places(self) -> tuple[int, ...]:
        """Of how many vectors a feature vector of each store is made."""
        return tuple(member.forward.places for member in self.members)

    @property
    def dim(self) -> int:
        """The length of a feature vector of all stores side by side."""
        return sum(self.dims)

    @property
    def numerics(self) -> dict[str, Any]:
        """What decides the last bits of each store's features."""
        return {str(n): member.forward.numerics for n, member in enumerate(self.members, 1)}

    @property
    def standardise(self) -> str:
        """The name of the steps that standardise features; see `standardise.py` of training."""
        return self.recipe.data.standardise

    def predictions(self, clips: Sequence[Rows], standardise: Standardiser | None) -> Predictions:
        """Return log-probabilities, and the attention of a head that attends, for some windows.

        Parameters
        ----------
        clips : sequence of float32 arrays (steps, dim)
        standardise : Standardiser or None
            With a row for each of `clips`.
        """
        store = WindowStore(clips, self.classes, self.dims, self.places)
        feed = Feed(store, self.device, steps=self.recipe.data.steps, standardise=standardise)
        size = self.recipe.train.batch_size
        return predict(self.head, feed, np.arange(len(clips)), batch_size=size)


def load_trained(
    run: Path,
    cache: Cache,
    *,
    weights: Sequence[str] = (),
    device: str,
    workers: int | None = None,
    batch_sizes: Sequence[int | None] = (),
    log: Log,
) -> Trained:
    """Load a run, its head and its backbones.

    Parameters
    ----------
    run : Path
    cache : Cache
        Keeps hashes of files.
    weights : sequence of str
        The file of each backbone's weights, if they have moved; one for each store.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    workers : int or None
        Pieces of videos decoded at once.
    batch_sizes : sequence of (int or None)
        Inputs of each backbone in one batch; None, or no sequence, takes what builds take.
    log : callable

    Raises
    ------
    InputError
        If `run` is not a run, was trained on imported features, on several views, or on stores of
        different frames; or if weights are missing or have another content.
    """
    config = read_config(run)
    recipe = recipe_of(config["recipe"], str(run / "config.yaml"))
    likes = likes_of(run)
    if weights and len(weights) != len(likes):
        raise InputError(
            f"{run} was trained on {count_of(len(likes), 'store')} but got {len(weights)} "
            "--weights; name one file for each store, in the order of the training."
        )
    members = tuple(
        load_member(like, text, size, cache, device, workers or default_workers(), log)
        for like, text, size in zip_longest(likes, weights, batch_sizes)
    )
    check_same_frames(run, members)
    dims = tuple(member.forward.dim for member in members)
    views = len(config["store"]["path"]) if is_of_views(run) else 1
    if views * sum(dims) != config["store"]["features"]:
        raise InputError(
            f"{run} was trained on features of length {config['store']['features']}, and its "
            f"backbone gives {sum(dims)}; name the weights that it was made with by --weights."
        )
    classes = likes[0].classes
    places = tuple(member.forward.places for member in members)
    empty = WindowStore([np.zeros((0, sum(dims)), np.float32)], classes, dims, places)
    standardised = recipe.data.standardise != "none"
    return Trained(
        run=run,
        recipe=recipe,
        classes=classes,
        head=load_head(run, recipe, empty).to(members[0].forward.device),
        members=members,
        training=_of_plain(read_training(run), sum(dims)) if standardised else None,
    )


def _of_plain(training: Training, dim: int) -> Training:
    """Return the statistics of the first view, the plain picture; without views, all of them."""
    return Training(training.mean[:dim], training.std[:dim])


def lengths(
    run: Path, trained: Trained, window: float | None, hop: float | None
) -> tuple[float, float]:
    """Return the length of windows and the seconds between them, as asked for or by default.

    Raises
    ------
    InputError
        If they are not positive, or the default is not known.
    """
    window = default_window(run) if window is None else window
    hop = default_hop(window, trained.first.pixels.fps) if hop is None else hop
    check_lengths(window, hop)
    return window, hop


def default_window(run: Path) -> float:
    """Return the median length of a run's training clips, in seconds.

    Raises
    ------
    InputError
        If neither the run nor its store says it.
    """
    seconds = read_metrics(run)["train"].get("clip_seconds")
    if seconds is None:
        try:
            store = own_store(run)
            seconds = clip_seconds(store, store.split("train"))
        except FeatstoreError:
            seconds = None
    if seconds is None:
        raise InputError(
            f"{run} does not say how long its training clips are, and its store is gone or has no "
            "times; give the length of a window in seconds with --window."
        )
    return float(seconds)
