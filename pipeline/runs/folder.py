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

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from featstore.errors import BusyError, InputError
from featstore.format.files import delete
from featstore.json_text import read_object
from featstore.keys import differences
from featstore.writing.locks import open_lock, try_lock
from pipeline.runs.files import _without_nan, write_json

CHECKPOINT, CONFIG, LOCK = "checkpoint.safetensors", "config.json", ".lock"


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
