"""Score a trained run on the clips of a store: its own, or any of the same features and classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from featstore import InputError, Store
from featstore.errors import StoreNotFoundError
from featstore.keys import differences
from featstore.manage.titles import without_number
from models.heads import Head
from pipeline.metrics.bootstrap import intervals
from pipeline.metrics.calibration import errors_at
from pipeline.metrics.predictions import Predictions
from pipeline.report.uncertainty import certainty_lines
from pipeline.runs.files import UNLABELLED, read_metrics
from pipeline.runs.record import RunConfig, check_fields
from pipeline.system.device import choose_device
from pipeline.train.data.feed import Feed
from pipeline.train.data.standardise import STANDARDISE, Standardiser, Training, standardiser
from pipeline.train.data.stores import moments, named_stores, open_stores
from pipeline.train.learner import make_head
from pipeline.train.predict import predict, refuse_non_finite
from pipeline.train.recipes.load import Recipe, recipe_of
from pipeline.yaml_text import read_yaml, short


def rescore(run: Path, store: Store, part: str, *, device: str = "auto") -> Predictions:
    """Classify one part of a store by the weights that a run kept.

    Parameters
    ----------
    run : Path
        The folder of the run.
    store : Store
    part : {"train", "val", "test"}
    device : str
        ``auto`` takes a GPU where there is one; else a name that torch knows.

    Returns
    -------
    Predictions

    Raises
    ------
    InputError
        If `run` is not the folder of a run, the part has no clips or some with features that are
        not finite, or the store's features or classes are not those that the run was trained on;
        the message names the clips or the field.
    """
    metrics, config = read_metrics(run), read_config(run)
    refuse_other_features(store, metrics["features"], config["store"])
    clips = store.split(part)
    if not len(clips):
        raise InputError(f"{store.path} has no usable {part} clips; give another --part")
    where = choose_device(device)
    recipe = recipe_of(config["recipe"], str(run / "config.yaml"))
    head = _load_head(run, recipe, store).to(where)
    standardise = _standardise(run, recipe, store, config["store"], where)
    feed = Feed(store, where, steps=recipe.data.steps, standardise=standardise)
    found = predict(head, feed, clips, batch_size=recipe.train.batch_size)
    refuse_non_finite(found, store)
    return found


def certainty(run: Path, store: Store, part: str, found: Predictions) -> list[str]:
    """Say how sure the scores and probabilities are that `rescore` found, in a line each.

    Parameters
    ----------
    run : Path
        Whose temperature, fitted on its own val, scales the probabilities.
    store : Store
    part : {"train", "val", "test"}
    found : Predictions
    """
    metrics = read_metrics(run)
    right, classes = found.predicted == found.labels, len(store.classes)
    people = store.subjects[found.clips]
    bounds = cast(dict[str, Any], intervals(found.labels, right, people, classes=classes))
    temperature = metrics.get("calibration", {}).get("temperature")
    errors = errors_at(temperature or 1.0, found.log_probabilities, found.labels)
    known = "subjects" if store.subjects_known else "videos"
    lines = certainty_lines(bounds, errors, temperature, known)
    if part != "train" and (whose := UNLABELLED.get(metrics.get("standardise", "none"))):
        lines.append(f"unlabelled {part} data: used; features are standardised by {whose}")
    return lines


def read_config(run: Path) -> dict[str, Any]:
    """Read a run's ``config.yaml``.

    Raises
    ------
    InputError
        If there is none, or it is not one of a run.
    """
    path = run / "config.yaml"
    try:
        config = read_yaml(path)
    except FileNotFoundError:
        raise InputError(f"{run}: not a run; it has no config.yaml") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a mapping of sections, got {short(config)}")
    return check_fields(RunConfig, config, path)


def own_store(run: Path, *, check: bool = False) -> Store:
    """Open the store that a run was trained on, or its stores as one.

    Parameters
    ----------
    run : Path
    check : bool
        As for `featstore.open`.

    Raises
    ------
    InputError
        If it is not where it was.
    """
    trained = read_config(run)["store"]
    paths = trained["path"] if isinstance(trained["path"], list) else [trained["path"]]
    try:
        # What was missing was allowed then.
        return open_stores(paths, allow_missing=True, check=check)
    except StoreNotFoundError:
        raise InputError(
            f"the run's own store is no longer at {' or '.join(paths)} "
            f"(key {trained['key'][:12]}); name a store with --store"
        ) from None


def refuse_other_features(
    store: Store, features: Mapping[str, Any], trained: Mapping[str, Any]
) -> None:
    """Refuse a store whose features mean something else than those of the training.

    Parameters
    ----------
    store : Store
    features : mapping
        The feature configuration of the store that was trained on.
    trained : mapping
        What ``config.yaml`` says of that store.

    Raises
    ------
    InputError
    """
    known, given = len(features.get("fused", [""])), len(store.stores)
    if known != given:
        raise InputError(
            f"the run was trained on {known} store{'s' * (known > 1)}, and {given} "
            f"{'are' if given > 1 else 'is'} given; name as many with --store, in the same order"
        )
    _refuse_other_order(store, trained)
    changed = differences(features, store.attributes.get("features", {}))
    if not changed and moments(store) != trained.get("statistics"):
        changed = [
            f"mean and std of the pixels: {trained.get('statistics')} -> {moments(store)}; fix "
            "them with --normalise when you build"
        ]
    if not changed and store.dim != trained["features"]:
        changed = [f"length of a feature vector: {trained['features']} -> {store.dim}"]
    if changed:
        raise InputError(
            f"{store.path} has other features than the run was trained on: {'; '.join(changed)}"
        )
    ours, theirs = list(trained["classes"]), list(store.classes)
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs))
        raise InputError(
            f"{store.path} has other classes than the run was trained on: {len(ours)} -> "
            f"{len(theirs)}, {'in one only: ' + ', '.join(odd) if odd else 'in another order'}"
        )


def _refuse_other_order(store: Store, trained: Mapping[str, Any]) -> None:
    """Refuse the stores of the training in another order, or the same data of another split so.

    Where all of them have features of one kind, such as views by one backbone, nothing else tells.
    """
    known, given = (own.get("stores", []) for own in (trained, named_stores(store)))
    for name in (lambda own: own["key"], lambda own: without_number(own["title"])):
        ours, theirs = list(map(name, known)), list(map(name, given))
        if ours == theirs:
            return
        if sorted(ours) == sorted(theirs):
            first, then = (
                ", ".join(f"{own['title']} ({own['key'][:12]})" for own in stores)
                for stores in (known, given)
            )
            raise InputError(
                f"the run was trained on stores in the order {first}, and given are {then}; name "
                "them with --store in the order of the training"
            )


def _load_head(run: Path, recipe: Recipe, store: Store) -> Head:
    path = run / "weights.safetensors"
    with torch.random.fork_rng([]):  # the first weights are drawn, and then replaced
        head = make_head(store, recipe)
    try:
        head.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be loaded ({error})") from None
    return head


def _standardise(
    run: Path, recipe: Recipe, store: Store, trained: Mapping[str, Any], device: torch.device
) -> Standardiser | None:
    """Standardise as in training."""
    how = recipe.data.standardise
    if how == "none" or store.key == trained["key"]:
        return standardiser(store, how, store.split("train"), device=device)
    try:
        kept = load_file(run / STANDARDISE)
        training = Training(kept["mean"].numpy(), kept["std"].numpy())
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{run / STANDARDISE}: cannot be read ({error})") from None
    return standardiser(store, how, training, device=device)
