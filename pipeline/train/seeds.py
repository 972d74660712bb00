"""Train one recipe with several seeds on several splits, and summarise the runs.

::

    OUT/split0-seed0/   a normal run; without splits, seed0/
    OUT/split0-seed1/
    ...
    OUT/metrics.json    means and spreads, by split and over all, and the intervals
    OUT/report.md, OUT/report.html   the same, and the protocol in words

Finished runs are skipped, so the same call resumes an interrupted series.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import InputError
from featstore.format.files import write_text
from featstore.json_text import read_object
from featstore.keys import differences
from featstore.text import count_of
from pipeline.metrics.bootstrap import clip_units, intervals, point
from pipeline.metrics.classification import SCORES
from pipeline.report.html_seeds import page
from pipeline.report.seeds import render
from pipeline.runs.files import PARTS, read_metrics, write_json
from pipeline.runs.groups import read_group
from pipeline.train.recipes.portfolio import Portfolio
from pipeline.types import Log
from pipeline.yaml_text import read_yaml

if TYPE_CHECKING:
    from featstore import Store
    from pipeline.train.recipes.load import Recipe
    from pipeline.train.workers import Trainer


def train_all(
    stores: Mapping[int | None, Store],
    recipe: Recipe | Portfolio,
    seeds: Sequence[int],
    *,
    out: Path,
    trainer: Trainer,
    log: Log,
    device: str = "auto",
    workers: int | None = None,
) -> Path:
    """Train a recipe on every split with every seed, and write the summary.

    Parameters
    ----------
    stores : mapping
        Maps the number of a split to its store; the only key is None for a single store.
    recipe : Recipe or Portfolio
        A portfolio chooses once per seed.
    seeds : sequence of int
    out : Path
        The folder of all runs.
    trainer : callable
        Takes a store, a folder that does not exist yet, a seed and a log; writes a run. It is
        pickled if several runs are trained at once.
    log : callable
    device : str
        That of `trainer`.
    workers : int, optional
        Runs at a time, by default see `pipeline.train.workers.runs_at_once`. Those of several
        are the same as of one.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    InputError
        If `out` holds something else, if an existing run has another configuration, or from
        `trainer`.
    """
    from pipeline.train.workers import runs_at_once, train_runs

    _check_folder(out)
    planned = [(split, seed, out / folder_of(split, seed)) for split in stores for seed in seeds]
    for split, seed, folder in planned:  # before anything is trained
        if folder.exists():
            _check_same(folder, stores[split], recipe, seed)
    left = [
        (stores[split], folder, seed)
        for split, seed, folder in planned
        if not (folder / "metrics.json").is_file()
    ]
    if len(left) < len(planned):
        log(f"skipped, already trained: {count_of(len(planned) - len(left), 'run')}")
    workers = workers or runs_at_once(left, recipe, device)
    train_runs(left, trainer, workers, log)
    return summarise(out, [folder for _, _, folder in planned])


def folder_of(split: int | None, seed: int) -> str:
    """Return the name of one run's folder.

    Examples
    --------
    >>> folder_of(2, 0), folder_of(None, 1)
    ('split2-seed0', 'seed1')
    """
    return f"seed{seed}" if split is None else f"split{split}-seed{seed}"


def _check_folder(out: Path) -> None:
    """Raise if the folder's ``metrics.json`` and ``report.md`` are not a summary of several runs.

    Raises
    ------
    InputError
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; name a folder for the runs")
    if any((out / name).exists() for name in ("predictions.csv", "config.yaml")):
        raise InputError(
            f"--out {out}: is a single run, and its scores and report would be overwritten; name "
            "another folder for several runs"
        )
    if (out / "metrics.json").exists() and not is_summary(out):
        raise InputError(
            f"--out {out}: its metrics.json is not a summary of several runs, and would be "
            "overwritten; name another folder, or remove that file"
        )


def _check_same(folder: Path, store: Store, recipe: Recipe | Portfolio, seed: int) -> None:
    """Raise if the folder holds a run of another store, recipe or seed.

    Raises
    ------
    InputError
    """
    if not any(folder.iterdir()):
        return
    try:
        config = read_yaml(folder / "config.yaml")
        what = "portfolio" if isinstance(recipe, Portfolio) else "recipe"
        saved = {name: config[name] for name in (what, "seed")}
        saved["store"] = config["store"]["key"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: not a finished run ({error}); remove it, or pass --out"
        ) from None
    plain = recipe.as_dict() if isinstance(recipe, Portfolio) else recipe.model_dump()
    expected = {what: plain, "seed": seed, "store": store.key}
    changed = differences(json.loads(json.dumps(saved)), json.loads(json.dumps(expected)))
    if changed:
        raise InputError(
            f"{folder}: is a run of another configuration ({'; '.join(changed)}); name another "
            "folder with --out"
        )


def summarise(out: Path, folders: Sequence[Path] | None = None) -> Path:
    """Write the ``metrics.json``, ``report.md`` and ``report.html`` of a folder of runs.

    Parameters
    ----------
    out : Path
    folders : sequence of Path, optional
        The runs; by default those named in its ``metrics.json``.

    Returns
    -------
    Path
        The report.
    """
    if folders is None:
        folders = [out / row["folder"] for row in read_summary(out)["runs"]]
    metrics = [read_metrics(folder) for folder in folders]
    runs = [
        {"folder": folder.name, "title": run_metrics["title"], "seed": run_metrics["seed"]}
        | {name: run_metrics[name] for name in ("recipe", "store_key", "best_epoch", "seconds")}
        | {part: {name: run_metrics[part][name] for name in SCORES} for part in PARTS}
        for folder, run_metrics in zip(folders, metrics, strict=True)
    ]
    stores = list(dict.fromkeys(run["store_key"] for run in runs))
    splits = [
        _split([run_metrics for run_metrics in metrics if run_metrics["store_key"] == key])
        for key in stores
    ]
    scores = {
        part: {name: _mean_over_splits(splits, part, name) for name in SCORES} for part in PARTS
    }
    summary = {
        "recipe": (metrics[0].get("portfolio") or {}).get("name") or metrics[0]["recipe"],
        "monitor": metrics[0]["monitor"],
        "seeds": sorted({run["seed"] for run in runs}),
        "standardise": metrics[0].get("standardise", "none"),
        "subjects_known": metrics[0]["subjects_known"],
        "scores": scores,
        "pooled": {
            part: _pooled(folders, part)
            if any(run_metrics[part]["clips"] for run_metrics in metrics)
            else None
            for part in PARTS
        },
        "splits": splits,
        "per_class": {part: _per_class(metrics, part) for part in PARTS},
        "concerns": list(
            dict.fromkeys(line for run_metrics in metrics for line in run_metrics["concerns"])
        ),
        "runs": runs,
    }
    write_json(out / "metrics.json", summary)
    report = out / "report.md"
    written = read_summary(out)
    write_text(report, render(written))
    write_text(out / "report.html", page(written))
    return report


def read_summary(out: Path) -> dict[str, Any]:
    """Return the ``metrics.json`` of a folder of runs; empty if the folder is not one."""
    try:
        summary = read_object(out / "metrics.json")
        return summary if isinstance(summary["runs"], list) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def is_summary(out: Path) -> bool:
    """Return whether a folder holds a summary of several runs, and is not a run itself."""
    return bool(read_summary(out))


def _split(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the summary of the seeds of one split."""
    first = runs[0]
    clips = {"train": first["train"]["clips"]} | {part: first[part]["clips"] for part in PARTS}
    return {
        "title": first["title"],
        "clips": clips,
        "subjects": first["subjects"],
        "classes": {part: _classes(first[part]) for part in PARTS},
        "classes_without_training_clips": first["train"]["classes_without_clips"],
        "failed_clips": first["failed_clips"],
        "untrained": first["untrained"],
        "baselines": first.get("baselines") or {},
        **{
            part: {name: _spread([run[part][name] for run in runs]) for name in SCORES}
            for part in PARTS
        },
    }


def _classes(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many classes a part's scores average, the total, and the classes left out."""
    rows = scores["per_class"]
    without = [row["class"] for row in rows if not row["support"]]
    return {
        "averaged": scores["classes_with_support"],
        "of": len(rows),
        "without_clips": without,
    }


def _per_class(runs: Sequence[Mapping[str, Any]], part: str) -> list[dict[str, Any]]:
    """Return the recall and F1 of each class over the runs that have clips of it, largest first."""
    by_class: dict[str, list[Mapping[str, Any]]] = {}
    clips: dict[str, dict[str, int]] = {}  # of each store, whose runs share them
    for run in runs:
        for row in run[part]["per_class"]:
            if row["support"]:
                by_class.setdefault(row["class"], []).append(row)
                clips.setdefault(row["class"], {})[run["store_key"]] = row["support"]
    rows = [
        {"class": name, "clips": sum(clips[name].values()), "runs": len(scored)}
        | {score: _spread([row[score] for row in scored]) for score in ("recall", "f1")}
        for name, scored in by_class.items()
    ]
    return sorted(rows, key=lambda row: -row["clips"])


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Return the mean, the standard deviation (n - 1; NaN for one value), and the values."""
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    std = float(numbers.std(ddof=1)) if len(numbers) > 1 else np.nan
    return {"mean": float(numbers.mean()), "std": std, "values": numbers.tolist()}


def _mean_over_splits(splits: Sequence[Mapping[str, Any]], part: str, name: str) -> dict[str, Any]:
    """Return a score's mean over splits for each seed, and its spread over seeds and splits."""
    by_seed = np.array([split[part][name]["values"] for split in splits], np.float64).mean(axis=0)
    over_splits = _spread([split[part][name]["mean"] for split in splits])
    return _spread(by_seed.tolist()) | {"std_over_splits": over_splits["std"]}


def _pooled(folders: Sequence[Path], part: str) -> dict[str, Any]:
    """Return the scores of all runs together; a clip counts by its share of correct runs.

    Returns
    -------
    dict
        The result of `pipeline.metrics.bootstrap.intervals`, with ``scores`` and the number of
        ``clips``.
    """
    group = read_group(folders, part)
    names, labels = np.unique([label for _, label in group.clips], return_inverse=True)
    owners = None if group.owners is None else np.array(group.owners)
    bounds = intervals(labels, group.correct, owners, classes=len(names))
    scores = point(clip_units(labels, group.correct[:, None], len(names)))
    totals = {"clips": len(labels), "scores": {name: float(v[0]) for name, v in scores.items()}}
    return (bounds or {}) | totals
