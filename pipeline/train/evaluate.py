"""Score a trained run on the store it was trained on, or one with the same features and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from featstore import InputError, Store
from featstore.errors import StoreNotFoundError
from featstore.keys import differences, without_normalise
from featstore.manage.titles import without_number
from featstore.text import count_of
from models.heads import Head
from pipeline.metrics.bootstrap import intervals
from pipeline.metrics.calibration import errors_at
from pipeline.metrics.predictions import Predictions
from pipeline.report.uncertainty import certainty_lines
from pipeline.runs.files import UNLABELLED, read_config, read_metrics
from pipeline.system.device import choose_device
from pipeline.train.data.feed import Feed
from pipeline.train.data.standardise import Standardiser, read_training, standardiser
from pipeline.train.data.stores import moments, named_stores, open_stores
from pipeline.train.data.views import views_of
from pipeline.train.folds import learnt_clips
from pipeline.train.learner import make_heads
from pipeline.train.predict import predict, refuse_non_finite
from pipeline.train.recipes.load import Recipe, recipe_of
from pipeline.types import Clips


def rescore(run: Path, store: Store, part: str, *, device: str = "auto") -> Predictions:
    """Return predictions of a run's weights on one part of a store.

    Parameters
    ----------
    run : Path
        The folder of the run.
    store : Store
    part : {"train", "val", "test"}
    device : str
        ``auto`` uses a GPU if there is one; other values are torch device names.

    Returns
    -------
    Predictions

    Raises
    ------
    InputError
        If `run` is not the folder of a run, the part has no clips, features are not finite, or
        the store's features or classes differ from the training's. The message names the clips or
        the field.
    """
    trained = read_config(run)["store"]
    refuse_other_features(store, read_metrics(run)["features"], trained)
    if part == "val" and store.key == trained["key"] and recipe_in(run).train.folds > 1:
        raise InputError(
            f"{run} learned from train and val, so it cannot score val; its metrics.json has the "
            "scores of val by cross-validation; pass --part test"
        )
    return classify(run, store, labelled(store, part), device=device)


def classify(run: Path, store: Store, clips: Clips, *, device: str = "auto") -> Predictions:
    """Return predictions of a run's weights on some clips of a store, labelled or not.

    Parameters
    ----------
    run : Path
    store : Store
    clips : int64 array (n,)
        Positions of usable clips.
    device : str
        See `rescore`.

    Raises
    ------
    InputError
        See `rescore`.
    """
    metrics, config = read_metrics(run), read_config(run)
    refuse_other_features(store, metrics["features"], config["store"])
    where = choose_device(device)
    recipe = recipe_in(run)
    head = load_head(run, recipe, store).to(where)
    standardise = _standardise(run, recipe, store, config["store"], where)
    views = views_of(store, recipe)
    feed = Feed(store, where, steps=recipe.data.steps, standardise=standardise, views=views)
    predictions = predict(head, feed, clips, batch_size=recipe.train.batch_size)
    refuse_non_finite(predictions, store)
    return predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """How sure the scores and probabilities of `rescore` are.

    Attributes
    ----------
    intervals : dict
        As `pipeline.metrics.bootstrap.intervals` gives them.
    errors : dict
        As `pipeline.metrics.calibration.errors_at` gives them.
    temperature : float or None
        Fitted on the run's val, it scales the probabilities.
    subjects_known : bool
    unlabelled : str
        What of the part was used without its labels; empty for nothing.
    """

    intervals: dict[str, Any]
    errors: dict[str, float]
    temperature: float | None
    subjects_known: bool
    unlabelled: str

    def lines(self) -> list[str]:
        """Return this for people, in a line each."""
        people = "subjects" if self.subjects_known else "videos"
        lines = certainty_lines(self.intervals, self.errors, self.temperature, people)
        return [*lines, self.unlabelled] if self.unlabelled else lines


def certainty(run: Path, store: Store, part: str, predictions: Predictions) -> Certainty:
    """Return how sure the scores and probabilities are that `rescore` returned.

    Parameters
    ----------
    run : Path
        The run; its temperature, fitted on its val clips, scales the probabilities.
    store : Store
    part : {"train", "val", "test"}
    predictions : Predictions
    """
    metrics = read_metrics(run)
    right, classes = predictions.predicted == predictions.labels, len(store.classes)
    subjects = store.subjects[predictions.clips]
    bounds = cast(dict[str, Any], intervals(predictions.labels, right, subjects, classes=classes))
    temperature = metrics.get("calibration", {}).get("temperature")
    whose = UNLABELLED.get(metrics.get("standardise", "none"))
    return Certainty(
        intervals=bounds,
        errors=errors_at(temperature or 1.0, predictions.log_probabilities, predictions.labels),
        temperature=temperature,
        subjects_known=store.subjects_known,
        unlabelled=f"unlabelled {part} data: used; features are standardised by {whose}"
        if whose and part != "train"
        else "",
    )


def labelled(store: Store, part: str) -> Clips:
    """Return the positions of the usable clips of a part that have a label.

    Raises
    ------
    InputError
        If there are none.
    """
    clips = store.split(part)
    if not len(clips):
        raise InputError(f"{store.path} has no usable {part} clips; pass another --part")
    with_label: Clips = clips[store.labels[clips] >= 0]
    if not len(with_label):
        raise InputError(
            f"the {len(clips)} {part} clips of {store.path} have no labels, so nothing can be "
            "scored; `featstore predict` names their classes"
        )
    return with_label


def own_store(run: Path, *, check: bool = False) -> Store:
    """Open the store that a run was trained on; several stores are opened as one.

    Parameters
    ----------
    run : Path
    check : bool
        See `featstore.open`.

    Raises
    ------
    InputError
        If the store is no longer at its path.
    """
    trained = read_config(run)["store"]
    paths = trained["path"] if isinstance(trained["path"], list) else [trained["path"]]
    try:
        # The training allowed the missing clips.
        return open_stores(paths, allow_missing=True, check=check)
    except StoreNotFoundError:
        raise InputError(
            f"the run's own store is no longer at {' or '.join(paths)} "
            f"(key {trained['key'][:12]}); pass a store with --store"
        ) from None


def refuse_other_features(
    store: Store, features: Mapping[str, Any], trained: Mapping[str, Any]
) -> None:
    """Raise if a store's features or classes differ from those of the training.

    Parameters
    ----------
    store : Store
    features : mapping
        The feature configuration of the training's store.
    trained : mapping
        The ``store`` section of the run's ``config.yaml``.

    Raises
    ------
    InputError
    """
    trained_count, store_count = len(features.get("fused", [""])), len(store.stores)
    if trained_count != store_count:
        times = {1: "once", 2: "twice"}.get(trained_count, f"{trained_count} times")
        raise InputError(
            f"the run was trained on {count_of(trained_count, 'store')} but got {store_count}; "
            f"pass --store {times}, in the same order"
        )
    _refuse_other_order(store, trained)
    store_features = store.attributes.get("features", {})
    changed = differences(without_normalise(features), without_normalise(store_features))
    if moments(store) != trained.get("statistics"):  # by value, whether measured or fixed
        changed.append(
            f"mean and std of the pixels: {trained.get('statistics')} -> {moments(store)}; build "
            "the store with --like RUN"
        )
    if not changed and store.dim != trained["features"]:
        changed = [f"length of a feature vector: {trained['features']} -> {store.dim}"]
    if changed:
        raise InputError(
            f"{store.path} has other features than the run was trained on: {'; '.join(changed)}"
        )
    trained_classes, classes = list(trained["classes"]), list(store.classes)
    if trained_classes != classes:
        odd = sorted(set(trained_classes) ^ set(classes))
        raise InputError(
            f"{store.path} has other classes than the run was trained on: {len(trained_classes)} "
            f"-> {len(classes)}, {'in one only: ' + ', '.join(odd) if odd else 'in another order'}"
        )


def _refuse_other_order(store: Store, trained: Mapping[str, Any]) -> None:
    """Raise if the stores are those of the training, or other splits of them, in another order.

    If all stores have the same kind of features, such as views by one backbone, only this check
    notices the order.
    """
    trained_stores, stores = (named.get("stores", []) for named in (trained, named_stores(store)))
    for name in (lambda named: named["key"], lambda named: without_number(named["title"])):
        before, now = list(map(name, trained_stores)), list(map(name, stores))
        if before == now:
            return
        if sorted(before) == sorted(now):
            first, second = (
                ", ".join(f"{named['title']} ({named['key'][:12]})" for named in members)
                for members in (trained_stores, stores)
            )
            raise InputError(
                f"the run was trained on stores in the order {first} but got {second}; pass "
                "--store in the order of the training"
            )


def recipe_in(run: Path) -> Recipe:
    """Return the recipe of a run."""
    return recipe_of(read_config(run)["recipe"], str(run / "config.yaml"))


def load_head(run: Path, recipe: Recipe, store: Store) -> Head:
    """Return the head of a run with its weights, for the features and classes of a store.

    Raises
    ------
    InputError
        If the weights are missing, damaged or of another head.
    """
    path = run / "weights.safetensors"
    with torch.random.fork_rng([]):  # initial weights are drawn, then replaced
        head = make_heads(store, recipe)
    try:
        head.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be loaded ({error})") from None
    return head


def _standardise(
    run: Path, recipe: Recipe, store: Store, trained: Mapping[str, Any], device: torch.device
) -> Standardiser | None:
    """Return the standardiser of the training for the clips of a store."""
    how = recipe.data.standardise
    if how == "none" or store.key == trained["key"]:
        clips = learnt_clips({part: store.split(part) for part in ("train", "val")}, recipe)
        return standardiser(store, how, clips, device=device)
    return standardiser(store, how, read_training(run), device=device)
