"""What a training leaves in its run folder, file by file."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import save

from featstore import Store
from pipeline.checks import Parts
from pipeline.config import Recipe
from pipeline.evaluate import Predictions, attention_entropy
from pipeline.figures import draw_figures
from pipeline.imbalance import classes_without_clips
from pipeline.report import report
from pipeline.run import PARTS, write_csv, write_json, write_yaml

if TYPE_CHECKING:
    from torch import Tensor

PACKAGES = ("featstore", "torch", "numpy")


def write_run(
    folder: Path,
    store: Store,
    recipe: Recipe,
    parts: Parts,
    training: Mapping[str, Any],
    predictions: Mapping[str, Predictions],
    history: Sequence[Mapping[str, Any]],
    *,
    weights: Mapping[str, Tensor],
) -> None:
    """Write every file of a run.

    Parameters
    ----------
    folder : Path
    store : Store
    recipe : Recipe
    parts : dict
        Positions of the clips of train, val and test.
    training : mapping
        How it went: seed, device, seconds, best_epoch, epochs, stopped, why_stopped,
        baseline.
    predictions : mapping
        Of val and test, by the weights of the best epoch.
    history : sequence of mapping
        One row an epoch.
    weights : mapping of tensors
    """
    write_yaml(folder / "config.yaml", _config(store, recipe, training))
    write_json(folder / "metrics.json", _metrics(store, recipe, parts, training, predictions))
    write_csv(folder / "history.csv", history)
    write_csv(folder / "predictions.csv", _rows(store, predictions))
    tensors = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
    (folder / "weights.safetensors").write_bytes(save(tensors))
    draw_figures(folder / "figures", store, recipe, history, predictions)
    report(folder)


def clips_and_labels(store: Store, parts: Parts) -> dict[str, set[tuple[str, str]]]:
    """Give the clips of val and test with their labels, for runs to be compared by."""
    return {
        part: {(str(store.clip_ids[i]), store.classes[store.labels[i]]) for i in parts[part]}
        for part in PARTS
    }


def _config(store: Store, recipe: Recipe, training: Mapping[str, Any]) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            versions[name] = "not installed"
    return {
        "recipe": recipe.model_dump(),
        "seed": training["seed"],
        "device": training["device"],
        "store": {
            "key": store.key,
            "path": str(store.path),
            "features": store.dim,
            "classes": list(store.classes),
        },
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
    several = store.row_size[val.clips] > 1  # a clip of one step, even resampled, has no choice
    attention = val.attention and [
        a for a, keep in zip(val.attention, several, strict=True) if keep
    ]
    return {
        "title": store.title,
        "store_key": store.key,
        "features": store.attributes.get("features", {}),
        "recipe": recipe.name,
        **training,
        "monitor": recipe.train.monitor,
        "imbalance": recipe.train.imbalance,
        "mixup": recipe.augment.mixup > 0,
        "subjects_known": store.subjects_known,
        "untrained": bool(store.attributes.get("untrained", False)),
        "train": {
            "clips": len(train_labels),
            "per_class": np.bincount(train_labels, minlength=len(store.classes)).tolist(),
            "classes_without_clips": classes_without_clips(train_labels, store.classes),
        },
        "failed_clips": {
            part: int(((store.splits == part) & (store.status != 0)).sum()) for part in parts
        },
        "one_step_val_clips": int((~several).sum()),
        "attention_entropy": None if attention is None else attention_entropy(attention),
        **{part: predictions[part].metrics.as_dict(store.classes) for part in PARTS},
    }


def _rows(store: Store, predictions: Mapping[str, Predictions]) -> list[dict[str, Any]]:
    return [
        {
            "clip": str(store.clip_ids[clip]),
            "part": part,
            "label": store.classes[label],
            "prediction": store.classes[guess],
            "probability": float(probability),
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
