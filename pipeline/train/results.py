"""Write the files of a run folder."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from featstore import Store
from pipeline.metrics.bootstrap import intervals
from pipeline.metrics.calibration import calibration
from pipeline.metrics.predictions import Predictions, attention_entropy
from pipeline.report.figures import draw_figures
from pipeline.report.run import report
from pipeline.runs.files import PARTS, write_csv, write_json, write_yaml
from pipeline.system.distributed import processes
from pipeline.train.data.checks import Parts
from pipeline.train.data.stores import clip_seconds, moments, named_stores
from pipeline.train.data.views import fusion_of
from pipeline.train.imbalance import classes_without_clips
from pipeline.train.recipes.load import Recipe
from pipeline.train.recipes.portfolio import Portfolio

PACKAGES = ("featstore", "torch", "numpy")


def write_run(
    folder: Path,
    config: Mapping[str, Any],
    store: Store,
    recipe: Recipe,
    parts: Parts,
    training: Mapping[str, Any],
    predictions: Mapping[str, Predictions],
    history: Sequence[Mapping[str, Any]],
    weights: Mapping[str, Tensor],
) -> None:
    """Write every file of a run.

    Parameters
    ----------
    folder : Path
    config : mapping
        The result of `configuration`.
    store : Store
    recipe : Recipe
    parts : dict
        Positions of the clips of train, val and test.
    training : mapping
        The outcome: seed, device, seconds, best_epoch, epochs, stopped, why_stopped, data_share,
        baseline.
    predictions : mapping
        Predictions on val and test, with the weights of the best epoch.
    history : sequence of mapping
        One row per epoch.
    weights : mapping of tensors
    """
    write_yaml(folder / "config.yaml", config)
    metrics = _metrics(store, recipe, parts, training, predictions)
    write_json(folder / "metrics.json", metrics)
    write_csv(folder / "history.csv", history)
    write_csv(folder / "predictions.csv", _rows(store, predictions))
    logits = {part: torch.from_numpy(predictions[part].log_probabilities).float() for part in PARTS}
    (folder / "predictions.safetensors").write_bytes(save(logits))
    tensors = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
    (folder / "weights.safetensors").write_bytes(save(tensors))
    temperature = metrics["calibration"]["temperature"]
    figures, monitor = folder / "figures", recipe.train.monitor
    draw_figures(figures, store.classes, monitor, history, predictions, temperature, store)
    report(folder)


def clips_and_labels(store: Store, parts: Parts) -> dict[str, set[tuple[str, str]]]:
    """Return the clips of val and test with their labels, to compare runs."""
    return {
        part: {(str(store.clip_ids[i]), store.classes[store.labels[i]]) for i in parts[part]}
        for part in PARTS
    }


def configuration(
    store: Store, recipe: Recipe | Portfolio, parts: Parts, *, seed: int, device: torch.device
) -> dict[str, Any]:
    """Return the plain values that determine a run's weights, as saved in ``config.yaml``.

    Parameters
    ----------
    store : Store
        Its path is included, but does not affect the weights.
    recipe : Recipe or Portfolio
    parts : dict
        Positions of the clips of train, val and test.
    seed : int
    device : torch.device
    """
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # runs from a checkout that is not installed
            versions[name] = "not installed"
    count = processes().count
    path = [str(member.path) for member in store.stores]
    if isinstance(recipe, Portfolio):
        chosen_by: dict[str, Any] = {"portfolio": recipe.as_dict()}
    else:
        chosen_by = {"recipe": recipe.model_dump()}
    return {
        **chosen_by,
        "seed": seed,
        "device": device.type,
        **({"processes": count} if count > 1 else {}),
        "store": {
            "key": store.key,
            "path": path[0] if len(path) == 1 else path,
            **named_stores(store),
            "features": store.dim,
            "classes": list(store.classes),
            "statistics": moments(store),
            "clips": {part: len(clips) for part, clips in parts.items()},
        },
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "versions": versions,
    }


def _metrics(
    store: Store,
    recipe: Recipe,
    parts: Parts,
    training: Mapping[str, Any],
    predictions: Mapping[str, Predictions],
) -> dict[str, Any]:
    train_labels = store.labels[parts["train"]]
    val = predictions["val"]
    several = store.row_size[val.clips] > 1  # attention needs at least two steps
    attention = val.attention and [
        a for a, keep in zip(val.attention, several, strict=True) if keep
    ]
    return {
        "title": store.title,
        "store_key": store.key,
        **named_stores(store),
        **({"fusion": fusion} if (fusion := fusion_of(store, recipe)) else {}),
        "features": store.attributes.get("features", {}),
        "recipe": recipe.full_name,
        **training,
        "folds": recipe.train.folds,
        "mean_of": [member.name for member in recipe.members],
        "monitor": recipe.train.monitor,
        "imbalance": recipe.train.imbalance,
        "mixup": all(member.augment.mixup > 0 for member in recipe.members),
        "standardise": recipe.data.standardise,
        "subjects_known": store.subjects_known,
        "untrained": bool(store.attributes.get("untrained", False)),
        "train": {
            "clips": len(train_labels),
            "clip_seconds": clip_seconds(store, parts["train"]),
            "per_class": np.bincount(train_labels, minlength=len(store.classes)).tolist(),
            "classes_without_clips": classes_without_clips(train_labels, store.classes),
        },
        "failed_clips": {
            part: int(((store.splits == part) & (store.status != 0)).sum()) for part in parts
        },
        "one_step_val_clips": int((~several).sum()),
        "attention_entropy": None if attention is None else attention_entropy(attention),
        "subjects": {part: len(np.unique(store.subjects[parts[part]])) for part in parts},
        "calibration": calibration(
            {
                part: (outcome.log_probabilities, outcome.labels)
                for part, outcome in predictions.items()
            }
        ),
        "intervals": {part: _intervals(store, predictions[part]) for part in PARTS},
        **{part: predictions[part].metrics.as_dict(store.classes) for part in PARTS},
    }


def _intervals(store: Store, predictions: Predictions) -> dict[str, Any] | None:
    right, subjects = predictions.predicted == predictions.labels, store.subjects[predictions.clips]
    return intervals(predictions.labels, right, subjects, classes=len(store.classes))


def _rows(store: Store, predictions: Mapping[str, Predictions]) -> list[dict[str, Any]]:
    return [
        {
            "clip": str(store.clip_ids[clip]),
            "part": part,
            "label": store.classes[label],
            "prediction": store.classes[guess],
            "probability": float(probability),
            "subject": str(store.subjects[clip]),
        }
        for part in PARTS
        for clip, label, guess, probability in zip(
            predictions[part].clips,
            predictions[part].labels,
            predictions[part].predicted,
            predictions[part].probability,
            strict=True,
        )
    ]
