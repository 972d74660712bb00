"""Which runs used a store: a register in the folder of stores, believed only where it still holds.

``.runs.jsonl`` has one line a training. A run counts as long as its folder is where it was left and
its ``metrics.json`` names the same store; so a run that moved is forgotten, and a line that is torn
or foreign does no harm.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from featstore.json_text import parse_object, read_object
from featstore.reading.store import Store

REGISTER = ".runs.jsonl"


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A line of the register.

    Attributes
    ----------
    run : Path
        Absolute.
    store_key : str
    recipe : str
    seed : int
    finished : str
        ISO date and time, UTC.
    """

    run: Path
    store_key: str
    recipe: str
    seed: int
    finished: str


def register_run(
    store: Store, run: Path, *, recipe: str, seed: int, log: Callable[[str], None]
) -> None:
    """Note in the folder of a store that a run used it; where that fails, say so and go on.

    Parameters
    ----------
    store : Store
        One at a remote place has no register. Of several that were fused, each is noted.
    run : Path
        The folder of the run, finished.
    recipe : str
        Its name.
    seed : int
    log : callable
        Takes one line.
    """
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    for own in store.stores:
        if not isinstance(own.path, Path):
            continue
        line = {
            "run": str(run.resolve()),
            "store_key": own.key,
            "recipe": recipe,
            "seed": seed,
            "finished": finished,
        }
        register = own.path.absolute().parent / REGISTER
        try:
            _append(register, json.dumps(line))
        except OSError as error:
            log(f"`featstore ls` will not count this run: {register}: {error.strerror or error}")


def known_runs(root: Path, key: str = "") -> list[KnownRun]:
    """Return the runs that used the stores of a folder, oldest first.

    Parameters
    ----------
    root : Path
        The folder of stores.
    key : str
        The beginning of a store key; by default, runs of all stores.
    """
    lines = (own for own in _lines(root / REGISTER) if own.store_key.startswith(key))
    last = {(own.run, own.store_key): own for own in lines}
    known = (own for own in last.values() if own.store_key in _used_stores(own.run))
    return sorted(known, key=lambda own: own.finished)


def _append(register: Path, line: str) -> None:
    """Add one line by one write, so that trainings that end together do not mix theirs."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(register, flags, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = b"\n" * torn + line.encode() + b"\n"
        if os.write(descriptor, data) != len(data):
            raise OSError(f"wrote only a part of {len(data)} bytes; the disk may be full")
    finally:
        os.close(descriptor)


def _lines(register: Path) -> Iterator[KnownRun]:
    try:
        lines = register.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        if own := _parse(line):
            yield own


def _parse(line: bytes) -> KnownRun | None:
    """Return what a line says, or nothing if it is not one of ours."""
    try:
        own = parse_object(line)
        texts = [own[name] for name in ("run", "store_key", "recipe", "finished")]
        seed = own["seed"]
    except (ValueError, TypeError, KeyError):
        return None
    if not all(isinstance(text, str) for text in texts) or not isinstance(seed, int):
        return None
    run, store_key, recipe, finished = texts
    known = KnownRun(Path(run), store_key, recipe, seed, finished)
    return known if known.run.is_absolute() else None


def _used_stores(run: Path) -> set[str]:
    try:
        metrics = read_object(run / "metrics.json")
        return {str(metrics["store_key"]), *(str(own["key"]) for own in metrics.get("stores", []))}
    except (OSError, ValueError, TypeError, KeyError):
        return set()
