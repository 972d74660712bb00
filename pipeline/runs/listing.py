"""Runs below a folder, with the settings in which they differ."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from pipeline.runs.files import read_metrics
from pipeline.runs.record import RunConfig, check_fields
from pipeline.yaml_text import read_yaml, short


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun:
    """A run and what it was trained with.

    Attributes
    ----------
    path : Path
    settings : dict
        Fields of the recipe by the names that ``--set`` takes, ``recipe``, ``seed`` and
        ``device``; of the store its ``title`` and feature configuration.
    store_key : str
    metrics : dict
        As `pipeline.runs.files.read_metrics` gives them.
    """

    path: Path
    settings: dict[str, Any]
    store_key: str
    metrics: dict[str, Any]


def run_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs at and below a folder, by name; hidden folders are skipped."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if {"config.yaml", "metrics.json"} <= set(files):
            folders.clear()
            yield Path(parent)


def read_run(path: Path) -> ListedRun:
    """Read what a run was trained with, and its scores.

    Raises
    ------
    InputError
        If a file of the run is damaged.
    """
    config = read_yaml(path / "config.yaml")
    if not isinstance(config, dict):
        raise InputError(f"{path / 'config.yaml'}: expected a mapping, got {short(config)}")
    check_fields(RunConfig, config, path / "config.yaml")
    metrics = read_metrics(path)
    recipe = {
        field: value
        for field, value in config["recipe"].items()
        if field not in ("name", "mean_with")
    }
    settings = {"recipe": metrics["recipe"], **leaves(recipe)}
    settings |= {name: config.get(name) for name in ("seed", "device")}
    settings |= {"title": metrics["title"], **leaves(metrics.get("features", {}))}
    return ListedRun(path=path, settings=settings, store_key=metrics["store_key"], metrics=metrics)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by dotted names.

    Examples
    --------
    >>> leaves({"train": {"lr": 0.001}, "size": 224})
    {'train.lr': 0.001, 'size': 224}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= leaves(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def differing(runs: Sequence[ListedRun]) -> list[str]:
    """Return the settings in which runs differ, ``store`` last where only the key tells stores.

    Parameters
    ----------
    runs : sequence of ListedRun
    """
    names = dict.fromkeys(name for run in runs for name in run.settings)
    found = [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]
    of_stores = [name for name in found if name == "title" or "." not in name]
    told = {tuple(repr(run.settings.get(name)) for name in of_stores) for run in runs}
    stores = {run.store_key for run in runs}
    return [*found, "store"] if len(stores) > len(told) else found


def setting(run: ListedRun, name: str) -> Any:
    """Return one setting of a run; None where it has none of this name."""
    return run.store_key[:12] if name == "store" else run.settings.get(name)
