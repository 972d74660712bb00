"""The run folder: written atomically, readable without torch.

::

    config.yaml           recipe, seed, store, versions
    metrics.json          scores of val and test, and the report's facts about the training
    history.csv           one row per epoch
    weights.safetensors   the head of the best epoch
    predictions.csv       clip, part, label, prediction, probability, subject
    predictions.safetensors  log-probabilities of val and test, in the order of predictions.csv
    figures/              curves, confusion, per_class, reliability; attention for heads that attend
    report.md, report.html
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from featstore.errors import BusyError, InputError
from featstore.format.files import delete, naming
from featstore.json_text import read_object
from featstore.keys import differences
from featstore.writing.locks import open_lock, try_lock
from pipeline.runs.files import _without_nan, write_json

CHECKPOINT, CONFIG, LOCK = "checkpoint.safetensors", "config.json", ".lock"


@contextmanager
def new_run(out: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder that is renamed to `out` when the block succeeds.

    Until then the folder lies in a hidden folder next to `out`, together with `CHECKPOINT`, where
    the block saves its progress. With a checkpoint, the hidden folder survives errors and killed
    processes, and the next call with the same configuration resumes from it.

    Parameters
    ----------
    out : Path
        Must not exist, or be an empty folder other than the current one. Missing parents are
        created.
    config : mapping
        The settings that decide the result, as plain values; ``store.path`` is ignored.

    Yields
    ------
    Path
        The temporary folder, empty; ``folder.with_name(CHECKPOINT)`` is next to it.

    Raises
    ------
    InputError
        If `out` is taken or cannot be written, or an interrupted training there has another
        configuration.
    BusyError
        If another process is writing it.
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
        for path in checkpoints(unfinished):
            path.unlink()


@contextmanager
def unfinished_folder(out: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the hidden, locked folder for the unfinished run; see `new_run`.

    The folder is removed after the block unless it holds `checkpoints`.
    """
    unfinished = unfinished_of(out)
    if unfinished.is_symlink():
        raise InputError(f"--out {out}: {unfinished} is a link and must be a folder; remove it")
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: the folder cannot be created ({error.strerror})") from None
    with locked(unfinished, out):
        if changed := cut_off_otherwise(out, config):
            raise InputError(
                f"--out {out}: holds an interrupted training of another configuration "
                f"({'; '.join(changed)}); resume that one, delete {unfinished}, or pass "
                "another --out"
            )
        try:
            with naming(out):
                write_json(unfinished / CONFIG, config)
                yield unfinished
        finally:
            if not checkpoints(unfinished):
                _remove_locked(unfinished)


def remove_unfinished(out: Path) -> None:
    """Remove the hidden folder of a finished `out`, unless a process holds its lock."""
    unfinished = unfinished_of(out)
    if unfinished.is_symlink():
        return
    with suppress(FileNotFoundError, BusyError), locked(unfinished, out):
        _remove_locked(unfinished)


def _remove_locked(folder: Path) -> None:
    """Remove a locked folder; the lock goes last, since another process may wait for it."""
    for path in folder.iterdir():
        if path.name != LOCK:
            with suppress(OSError):
                delete(path)
    with suppress(OSError):  # another process has started to write there
        (folder / LOCK).unlink()
        folder.rmdir()


def checkpoints(unfinished: Path) -> list[Path]:
    """Return the states that a training left to go on from: `CHECKPOINT`, ``NAME-CHECKPOINT``."""
    return list(unfinished.glob(f"*{CHECKPOINT}"))


def unfinished_of(out: Path) -> Path:
    """Return the hidden folder that holds a run until it is finished."""
    return out.parent / f".{out.name}.unfinished"


def cut_off_otherwise(out: Path, config: Mapping[str, Any]) -> list[str]:
    """Return the fields in which an interrupted training differs; empty if there is none."""
    unfinished = unfinished_of(out)
    if not checkpoints(unfinished):
        return []
    try:
        there = read_object(unfinished / CONFIG)
    except (OSError, ValueError) as error:
        return [f"{unfinished / CONFIG} cannot be read: {error}"]
    here = json.loads(json.dumps(_without_nan(config)))
    for tree in (there, here):
        if isinstance(store := tree.get("store"), dict):
            store.pop("path", None)
    return differences(there, here)


@contextmanager
def locked(folder: Path, out: Path) -> Iterator[None]:
    """Hold a kernel lock on a file in a folder; the lock ends with the process."""
    path = folder / LOCK
    descriptor = open_lock(path)
    try:
        # Another process may have removed the file just before this lock.
        if not try_lock(descriptor) or not _is_at(descriptor, path):
            raise BusyError(
                f"--out {out}: another process is training into it; wait for it, or pass another "
                "--out"
            )
        try:
            yield
        finally:
            if _is_at(descriptor, path):  # only the holder of the lock removes it
                path.unlink()
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the file at this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _check_free(out: Path) -> None:
    if out.name in ("", "..") or (out.exists() and out.samefile(Path())):
        raise InputError(
            f"--out {out}: a run cannot replace the current folder; name another folder, such as "
            f"{out / 'run'}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: exists and is not an empty folder; name another folder")
