"""A trained run, ready to predict: its head, its backbone and its statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore import InputError, Store
from featstore.errors import FeatstoreError
from featstore.format.layout import Layout
from models.heads import Head
from pipeline.build.extract.backbone import Forward, load_forward
from pipeline.build.extract.statistics import Statistics
from pipeline.build.plan.extraction import Extraction
from pipeline.build.plan.like import Like, read_like
from pipeline.build.plan.normalisation import Normalisation
from pipeline.build.plan.options import default_workers
from pipeline.build.plan.weights import find_weights
from pipeline.option_values import rate
from pipeline.predict.windows import check_lengths, default_hop
from pipeline.runs.files import read_config, read_metrics
from pipeline.train.data.feed import Feed
from pipeline.train.data.standardise import Standardiser, Training, read_training
from pipeline.train.data.stores import clip_seconds
from pipeline.train.evaluate import load_head, own_store
from pipeline.train.predict import predict
from pipeline.train.recipes.load import Recipe, recipe_of
from pipeline.types import Floats, Log
from pipeline.video.cache import Cache
from pipeline.video.modes import PixelSpec

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A run with everything that its predictions need.

    Attributes
    ----------
    run : Path
    like : Like
        What decides the features.
    recipe : Recipe
    classes : tuple of str
    head : Head
        On `forward.device`.
    forward : Forward
        The backbone.
    statistics : Statistics
        Mean and std of the pixels.
    training : Training or None
        Statistics of the training features; None where nothing is standardised.
    pixels : PixelSpec
    window : (int, int) or None
        Frames in an input of a video backbone, and between two inputs.
    """

    run: Path
    like: Like
    recipe: Recipe
    classes: tuple[str, ...]
    head: Head
    forward: Forward
    statistics: Statistics
    training: Training | None
    pixels: PixelSpec
    window: tuple[int, int] | None

    @property
    def standardise(self) -> str:
        """The name of the steps that standardise features; see `standardise.py` of training."""
        return self.recipe.data.standardise

    def log_probabilities(self, clips: Sequence[Rows], standardise: Standardiser | None) -> Floats:
        """Return the log-probabilities of the classes for the features of some windows.

        Parameters
        ----------
        clips : sequence of float32 arrays (steps, dim)
        standardise : Standardiser or None
            With a row for each of `clips`.

        Returns
        -------
        float64 array (clips, classes)
        """
        store = WindowStore(clips, self.classes)
        feed = Feed(
            store, self.forward.device, steps=self.recipe.data.steps, standardise=standardise
        )
        size = self.recipe.train.batch_size
        return predict(self.head, feed, np.arange(len(clips)), batch_size=size).log_probabilities


def load_trained(
    run: Path,
    cache: Cache,
    *,
    weights: str | None,
    device: str,
    workers: int | None = None,
    batch_size: int | None = None,
    log: Log,
) -> Trained:
    """Load a run, its head and its backbone.

    Parameters
    ----------
    run : Path
    cache : Cache
        Keeps hashes of files.
    weights : str or None
        The file of the backbone's weights, if it has moved.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    workers : int or None
        Pieces of videos decoded at once.
    batch_size : int or None
        Inputs of the backbone in one batch; None takes what builds take.
    log : callable

    Raises
    ------
    InputError
        If `run` is not a run, was trained on several stores or on imported features, or its
        weights are missing or have another content.
    """
    config = read_config(run)
    trained = config["store"]
    like = read_like(run)
    recipe = recipe_of(config["recipe"], str(run / "config.yaml"))
    options = like.options()
    text = weights or like.find_weights()
    backbone_weights = find_weights(text, like.backbone, cache, log)
    like.check_weights(text, backbone_weights.identity)
    fps = None if options["every_frame"] else rate("fps", options["fps"])
    pixels = PixelSpec(options["pixels"], fps, options["decoder"])
    window = (options["window"], options["hop"]) if "window" in options else None
    normalise = Normalisation.parse(options["normalise"])
    forward = load_forward(
        Extraction(
            backbone=like.backbone,
            weights=backbone_weights,
            pixels=pixels,
            normalise=normalise,
            size=options["size"],
            fit=options["fit"],
            window=window[0] if window else None,
            precision=options["precision"],
            device=device,
            batch_size=batch_size,
            workers=workers or default_workers(),
        )
    )
    if forward.dim != trained["features"]:
        raise InputError(
            f"{run} was trained on features of length {trained['features']}, and its backbone "
            f"gives {forward.dim}; name the weights that it was made with by --weights."
        )
    empty = WindowStore([np.zeros((0, forward.dim), np.float32)], like.classes)
    standardised = recipe.data.standardise != "none"
    return Trained(
        run=run,
        like=like,
        recipe=recipe,
        classes=like.classes,
        head=load_head(run, recipe, empty).to(forward.device),
        forward=forward,
        statistics=Statistics(mean=normalise.mean, std=normalise.std, origin=normalise.origin),
        training=read_training(run) if standardised else None,
        pixels=pixels,
        window=window,
    )


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
    hop = default_hop(window, trained.pixels.fps) if hop is None else hop
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


class WindowStore(Store):
    """The features of some windows, read like the clips of a store.

    Parameters
    ----------
    clips : sequence of float32 arrays (steps, dim)
        At least one.
    classes : tuple of str
    """

    def __init__(self, clips: Sequence[Rows], classes: tuple[str, ...]) -> None:
        self.path, self.key, self.title = "the windows", "", ""
        self.classes = classes
        self.labels = np.full(len(clips), -1, np.int64)
        self.clip_ids = np.arange(len(clips)).astype(np.str_)
        self.row_size = np.array([len(clip) for clip in clips], np.int64)
        self.status = np.zeros(len(clips), np.int8)
        self.dim = clips[0].shape[1]
        self.layout = Layout(self.row_size, self.dim, 1)
        self.__dict__["rows"] = _ArrayRows(np.concatenate(clips))


class _ArrayRows:
    """Rows of a store that are an array in memory."""

    def __init__(self, array: Rows) -> None:
        self._array = array
        self.take: Any = partial(np.take, array, axis=0)

    def span(self, start: int, stop: int) -> Rows:
        return self._array[start:stop]

    def windows(self, firsts: NDArray[np.int64], width: int) -> Rows:
        rows: Rows = self._array[firsts[:, None] + np.arange(width)]
        return rows
