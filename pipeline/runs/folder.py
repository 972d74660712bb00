"""The folder that a training leaves, written whole or not at all, and read without torch.

::

    config.yaml           recipe, seed, store, versions
    metrics.json          scores of val and test, and what the report says about the training
    history.csv           one row an epoch
    weights.safetensors   the head of the best epoch
    predictions.csv       clip, part, label, prediction, probability, subject
    predictions.safetensors  log-probabilities of val and test, in the order of predictions.csv
    figures/              curves, confusion, per_class and, for heads that attend, attention
    report.md
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from featstore.errors import BusyError, InputError
from featstore.format.files import delete
from featstore.json_text import read_object
from featstore.keys import differences
from featstore.text import as_cell, of_cell
from featstore.writing.locks import open_lock, try_lock
from pipeline.runs.record import RunMetrics, check_fields

PARTS = ("val", "test")
CHECKPOINT, CONFIG, LOCK = "checkpoint.safetensors", "config.json", ".lock"
PREDICTED = ("clip", "part", "label", "prediction", "probability")
SCORES = ("top1", "mean_class_accuracy", "macro_f1", "weighted_f1")


@contextmanager
def new_run(out: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Give a folder that takes the name `out` when the block ends well.

    Until then it lies in a hidden folder beside `out`, with `CHECKPOINT`, where the block keeps how
    far it came. Where there is one, that folder outlives a killed process and errors, and is taken
    up by the next call with the same configuration.

    Parameters
    ----------
    out : Path
        Must not exist, or be an empty folder other than the current one. Missing parents are made.
    config : mapping
        What decides the result, as plain values; ``store.path`` decides nothing.

    Yields
    ------
    Path
        The temporary folder, empty; ``folder.with_name(CHECKPOINT)`` is beside it.

    Raises
    ------
    InputError
        If `out` is taken, or cannot be written, or another configuration was cut off there.
    BusyError
        If another process is at it.
    """
    _check_free(out)
    with unfinished_folder(out, config) as unfinished:
        folder = unfinished / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        _check_free(out)
        if out.exists():
            out.rmdir()
        folder.rename(out)
        (unfinished / CHECKPOINT).unlink(missing_ok=True)


@contextmanager
def unfinished_folder(out: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Give the hidden folder beside `out` for what is not whole yet, locked; see `new_run`.

    It is removed with the block unless `CHECKPOINT` is in it.
    """
    unfinished = unfinished_of(out)
    if unfinished.is_symlink():
        raise InputError(f"--out {out}: {unfinished} is a link, and should be a folder; remove it")
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: the folder cannot be made ({error.strerror})") from None
    with locked(unfinished, out):
        if changed := cut_off_otherwise(out, config):
            raise InputError(
                f"--out {out}: a training of another configuration was cut off there "
                f"({'; '.join(changed)}); go on with that one, delete {unfinished}, or give "
                "another --out"
            )
        try:
            write_json(unfinished / CONFIG, config)
            yield unfinished
        finally:
            if not (unfinished / CHECKPOINT).exists():
                _remove_locked(unfinished)


def remove_unfinished(out: Path) -> None:
    """Remove the hidden folder beside a whole `out`, unless a process is at it, which will."""
    unfinished = unfinished_of(out)
    if unfinished.is_symlink():
        return
    with suppress(FileNotFoundError, BusyError), locked(unfinished, out):
        _remove_locked(unfinished)


def _remove_locked(folder: Path) -> None:
    """Remove a folder under its lock, which goes last: another process may wait to take it."""
    for path in folder.iterdir():
        if path.name != LOCK:
            with suppress(OSError):
                delete(path)
    with suppress(OSError):  # another process has begun to write there
        (folder / LOCK).unlink()
        folder.rmdir()


def unfinished_of(out: Path) -> Path:
    """Return the folder in which a run lies until it is whole."""
    return out.parent / f".{out.name}.unfinished"


def cut_off_otherwise(out: Path, config: Mapping[str, Any]) -> list[str]:
    """Say in which fields a training that was cut off differs; nothing where none was."""
    unfinished = unfinished_of(out)
    if not (unfinished / CHECKPOINT).exists():
        return []
    try:
        theirs = read_object(unfinished / CONFIG)
    except (OSError, ValueError) as error:
        return [f"{unfinished / CONFIG} cannot be read: {error}"]
    ours = json.loads(json.dumps(_without_nan(config)))
    for one in (theirs, ours):
        if isinstance(store := one.get("store"), dict):
            store.pop("path", None)
    return differences(theirs, ours)


@contextmanager
def locked(folder: Path, out: Path) -> Iterator[None]:
    """Hold a kernel lock on a file in a folder; it dies with its process."""
    path = folder / LOCK
    descriptor = open_lock(path)
    try:
        # The file may be one that another process removed just before this lock.
        if not try_lock(descriptor) or not _is_at(descriptor, path):
            raise BusyError(
                f"--out {out}: another process is training to it; wait for it, or give another "
                "--out"
            )
        try:
            yield
        finally:
            if _is_at(descriptor, path):  # only who holds the lock removes it
                path.unlink()
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one of this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _check_free(out: Path) -> None:
    if out.name in ("", "..") or (out.exists() and out.samefile(Path())):
        raise InputError(
            f"--out {out}: a run takes the place of an empty folder with a name of its own, which "
            f"cannot be the one you are in; name another, such as {out / 'run'}"
        )
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
    """Write rows that all have the keys of the first; floats get six significant digits.

    No text is a formula to a spreadsheet; see `featstore.text.as_cell`.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
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
        the top; under ``val`` and ``test`` the scores as fractions (None where there is nothing
        to score), ``clips``, ``classes_with_support``, ``per_class`` and ``confusion``.

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


def read_predictions(run: Path) -> list[dict[str, str]]:
    """Read a run's ``predictions.csv``: clip, part, label, prediction, probability.

    Raises
    ------
    InputError
        If there is no such file, or it is not one of a run.
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
