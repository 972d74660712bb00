"""Write a run's files as plain text, and read them back with checks."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from featstore.errors import InputError
from featstore.format.files import naming, write_text
from featstore.json_text import read_object
from featstore.text import as_cell, of_cell
from pipeline.metrics.classification import SCORES
from pipeline.runs.record import RunConfig, RunMetrics, check_fields
from pipeline.yaml_text import read_yaml, short

# Statistics for standardising that use val and test features, without their labels.
UNLABELLED = {
    "recording": "mean and std of their own recording",
    "subject": "mean and std of their own subject",
    "causal": "mean and std of their own recording up to the end of each clip",
}

PARTS = ("val", "test")
PREDICTED = ("clip", "part", "label", "prediction", "probability")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write strict JSON, one line per table row; NaN in `value` becomes null in the file."""
    write_text(path, _json_lines(_without_nan(value)) + "\n")


def _json_lines(value: Any, pad: str = "") -> str:
    dump = partial(json.dumps, ensure_ascii=False, allow_nan=False)
    if isinstance(value, Mapping) and value:
        rows = (f"{pad} {dump(k)}: {_json_lines(v, pad + ' ')}" for k, v in value.items())
        return "{\n" + ",\n".join(rows) + f"\n{pad}}}"
    if isinstance(value, list) and value and isinstance(value[0], list | dict):
        return "[\n" + ",\n".join(f"{pad} {dump(row)}" for row in value) + f"\n{pad}]"
    return dump(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write YAML, with the keys in the order of `value`."""
    write_text(path, yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the keys of the first row; floats get six significant digits.

    Text is escaped so that a spreadsheet sees no formula; see `featstore.text.as_cell`.
    """
    with naming(path), path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return as_cell(value) if isinstance(value, str) else value


def read_metrics(run: Path) -> dict[str, Any]:
    """Read a run's ``metrics.json``.

    Parameters
    ----------
    run : Path

    Returns
    -------
    dict
        ``recipe``, ``seed``, ``store_key``, ``best_epoch``, ``stopped``, ``seconds`` and more at
        the top. ``val`` and ``test`` hold the scores as fractions (None without clips),
        ``clips``, ``classes_with_support``, ``per_class`` and ``confusion``.

    Raises
    ------
    InputError
        If `run` is not the folder of a run.
    """
    try:
        metrics = read_object(run / "metrics.json")
    except FileNotFoundError:
        raise InputError(f"{run}: not a run; it has no metrics.json") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{run / 'metrics.json'}: cannot be read ({error})") from None
    return check_fields(RunMetrics, metrics, run / "metrics.json")


def read_config(run: Path) -> dict[str, Any]:
    """Read a run's ``config.yaml``.

    Raises
    ------
    InputError
        If the file is missing, or is not a run's.
    """
    path = run / "config.yaml"
    try:
        config = read_yaml(path)
    except FileNotFoundError:
        raise InputError(f"{run}: not a run; it has no config.yaml") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a mapping of sections, got {short(config)}")
    return check_fields(RunConfig, config, path)


def read_history(run: Path) -> list[dict[str, float]]:
    """Read a run's ``history.csv``, a row per epoch.

    Raises
    ------
    InputError
        If the file is missing or unreadable.
    """
    path = run / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); train the run again") from None


def read_predictions(run: Path) -> list[dict[str, str]]:
    """Read a run's ``predictions.csv``: clip, part, label, prediction, probability.

    Raises
    ------
    InputError
        If the file is missing, unreadable or lacks columns.
    """
    path = run / "predictions.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [_texts(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); train the run again") from None
    if missing := sorted({name for row in rows for name in PREDICTED if row.get(name) is None}):
        raise InputError(f"{path}: rows lack {', '.join(missing)}; train the run again")
    return rows


def _texts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: of_cell(v) if isinstance(v, str) else v for name, v in row.items()}


def compare_with(baseline: Path, clips: Mapping[str, set[tuple[str, str]]]) -> dict[str, Any]:
    """Return a summary of another run, to compare with.

    Parameters
    ----------
    baseline : Path
        The other run.
    clips : mapping
        The clips of this run and their labels, for val and test.

    Returns
    -------
    dict
        ``name``, ``recipe``, ``seed``, ``store_key``, and for val and test the scores with
        ``clips`` and ``common``, the number of clips with equal labels in both runs.

    Raises
    ------
    InputError
        If `baseline` is not the folder of a run.
    """
    metrics = read_metrics(baseline)
    rows = read_predictions(baseline)
    summary = {key: metrics.get(key) for key in ("recipe", "seed", "store_key")}
    for part in PARTS:
        scores = {key: metrics[part][key] for key in (*SCORES, "clips", "classes_with_support")}
        theirs = {(row["clip"], row["label"]) for row in rows if row["part"] == part}
        summary[part] = {**scores, "common": len(theirs & clips[part])}
    return {"name": baseline.resolve().name, **summary}
