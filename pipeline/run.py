"""The folder that a training leaves, written whole or not at all, and read without torch.

::

    config.yaml           recipe, seed, store, versions
    metrics.json          scores of val and test, and what the report says about the training
    history.csv           one row an epoch
    weights.safetensors   the head of the best epoch
    predictions.csv       clip, part, label, prediction, probability
    figures/              curves, confusion, per_class and, for heads that attend, attention
    report.md
"""

from __future__ import annotations

import csv
import json
import math
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from featstore.errors import InputError

PARTS = ("val", "test")
METRICS = (
    *("title", "store_key", "recipe", "seed", "seconds", "subjects_known", "untrained", "mixup"),
    *("best_epoch", "epochs", "stopped", "why_stopped", "attention_entropy", "one_step_val_clips"),
    *("failed_clips", "baseline", "train", "val", "test"),
)
SCORES = ("top1", "mean_class_accuracy", "macro_f1", "weighted_f1")


@contextmanager
def new_run(out: Path) -> Iterator[Path]:
    """Give a temporary folder beside `out` that takes its name when the block ends well.

    Parameters
    ----------
    out : Path
        Must not exist, or be an empty folder. Missing parents are made.

    Yields
    ------
    Path
        The temporary folder; removed if the block raises.

    Raises
    ------
    InputError
        If `out` is taken, or cannot be written.
    """
    _check_free(out)
    folder = out.parent / f".{out.name}.{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"--out {out}: the folder cannot be made ({error.strerror})") from None
    try:
        yield folder
        _check_free(out)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: exists and is not an empty folder; name another one")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write strict JSON, one line for every row of a table; NaN in `value` is null in the file."""
    path.write_text(_json_lines(_without_nan(value)) + "\n", "utf-8")


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
    """Write YAML with the keys in the order given."""
    path.write_text(yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True), "utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that all have the keys of the first; floats get six significant digits."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()}
            )


def read_metrics(run: Path) -> dict[str, Any]:
    """Read a run's ``metrics.json``.

    Parameters
    ----------
    run : Path

    Returns
    -------
    dict
        ``recipe``, ``seed``, ``store_key``, ``best_epoch``, ``stopped``, ``seconds`` and more at
        the top; under ``val`` and ``test`` the scores as fractions (None where there is nothing
        to score), ``clips``, ``classes_with_support``, ``per_class`` and ``confusion``.

    Raises
    ------
    InputError
        If `run` is not the folder of a run.
    """
    try:
        metrics = json.loads((run / "metrics.json").read_text("utf-8"))
        missing = set(METRICS) - metrics.keys()
    except FileNotFoundError:
        raise InputError(f"{run}: not a run; it has no metrics.json") from None
    except (ValueError, AttributeError, OSError) as error:
        raise InputError(f"{run / 'metrics.json'}: cannot be read ({error})") from None
    if missing:
        raise InputError(f"{run / 'metrics.json'}: lacks {', '.join(sorted(missing))}")
    return dict(metrics)


def read_predictions(run: Path) -> list[dict[str, str]]:
    """Read a run's ``predictions.csv``: clip, part, label, prediction, probability.

    Raises
    ------
    InputError
        If there is no such file.
    """
    try:
        with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{run}: predictions.csv cannot be read ({error.strerror})") from None


def compare_with(baseline: Path, clips: Mapping[str, set[tuple[str, str]]]) -> dict[str, Any]:
    """Sum up another run for comparison.

    Parameters
    ----------
    baseline : Path
        The other run.
    clips : mapping
        For val and test, the clips of this run and their labels.

    Returns
    -------
    dict
        ``name``, ``recipe``, ``seed``, ``store_key``, and for val and test the scores with
        ``clips`` and ``common``: how many clips with equal labels both runs have.

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
