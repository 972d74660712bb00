"""The register of the runs that used a store, kept in the folder of stores.

``.runs.jsonl`` has one line per training. A line counts while the run's folder exists at its path
and its ``metrics.json`` names the same store. A run that moved is ignored, as are torn or foreign
lines.
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
    """Register a run in the folder of its store; a failure is only logged.

    Parameters
    ----------
    store : Store
        A remote store has no register. For a fused store, every member store gets a line.
    run : Path
        The folder of the finished run.
    recipe : str
        The recipe's name.
    seed : int
    log : callable
        Takes one line.
    """
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    for member in store.stores:
        if not isinstance(member.path, Path):
            continue
        line = {
            "run": str(run.resolve()),
            "store_key": member.key,
            "recipe": recipe,
            "seed": seed,
            "finished": finished,
        }
        register = member.path.absolute().parent / REGISTER
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
        The start of a store key; by default, the runs of all stores.
    """
    lines = (record for record in _lines(root / REGISTER) if record.store_key.startswith(key))
    last = {(record.run, record.store_key): record for record in lines}
    current = (record for record in last.values() if record.store_key in _used_stores(record.run))
    return sorted(current, key=lambda record: record.finished)


def _append(register: Path, line: str) -> None:
    """Append one line in one write, so that concurrent trainings do not mix lines."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(register, flags, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = b"\n" * torn + line.encode() + b"\n"
        if os.write(descriptor, data) != len(data):
            raise OSError(f"wrote fewer than {len(data)} bytes; the disk may be full")
    finally:
        os.close(descriptor)


def _lines(register: Path) -> Iterator[KnownRun]:
    try:
        lines = register.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        if record := _parse(line):
            yield record


def _parse(line: bytes) -> KnownRun | None:
    """Return the record of a line, or None if the line is torn or foreign."""
    try:
        fields = parse_object(line)
        texts = [fields[name] for name in ("run", "store_key", "recipe", "finished")]
        seed = fields["seed"]
    except (ValueError, TypeError, KeyError):
        return None
    if not all(isinstance(text, str) for text in texts) or not isinstance(seed, int):
        return None
    run, store_key, recipe, finished = texts
    record = KnownRun(Path(run), store_key, recipe, seed, finished)
    return record if record.run.is_absolute() else None


def _used_stores(run: Path) -> set[str]:
    try:
        metrics = read_object(run / "metrics.json")
        return {
            str(metrics["store_key"]),
            *(str(named_store["key"]) for named_store in metrics.get("stores", [])),
        }
    except (OSError, ValueError, TypeError, KeyError):
        return set()
