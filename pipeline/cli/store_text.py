"""What is said of the stores of a folder: a table of all, and what one removal would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import CorruptStoreError
from featstore.format.container import FORMATS, suffix_of
from featstore.manage.leftovers import Leftover, size_of
from featstore.manage.provenance import read_provenance
from featstore.manage.removal import Target
from featstore.reading.store import Store
from featstore.text import human_size
from pipeline.build.summary import SHOWN, _plain, caveats, failures, table
from pipeline.runs.register import KnownRun, known_runs
from pipeline.sources.base import SPLITS

if TYPE_CHECKING:
    from featstore.manage.catalogue import Entry

UNKNOWN = "?"


def listing(root: Path, found: Sequence[Entry]) -> str:
    """Return a table of stores.

    Parameters
    ----------
    root : Path
        The folder of stores, which has the register of runs.
    found : sequence of Entry
    """
    runs = Counter(known.store_key for known in known_runs(root))
    rows: list[Sequence[object]] = [
        ["store", "key", "format", "clips", "steps x dim", "GB", "age", "runs", "notes"]
    ]
    for entry in found:
        own = entry.attributes
        clips = sum(own["clips"].values())
        shape = f"{own.get('steps', UNKNOWN)} x {own.get('dim', UNKNOWN)}"
        size = f"{size_of(entry.path.resolve()) / 1e9:.3f}"
        notes = [] if own["subjects_known"] else ["subjects unknown"]
        notes += ["UNTRAINED"] if own.get("untrained") else []
        known = [entry.path.name, entry.key[:12], format_of(entry.path), clips, shape, size]
        rows.append([*known, age_of(entry.path), runs[entry.key], ", ".join(notes)])
    return table(rows)


def removal(target: Target, runs: Sequence[KnownRun]) -> Iterator[str]:
    """Yield what a user should know before a store is removed.

    Parameters
    ----------
    target : Target
    runs : sequence of KnownRun
        Those that used it.
    """
    path = target.path
    yield f"{path}  {human_size(size_of(path))}, built {ago(age_of(path))}"
    if path.is_symlink():
        yield f"It is a link: {path.resolve()} stays where it is."
    if target.damage:
        yield f"It cannot be opened: {target.damage}"
    if not runs:
        yield "No run that is still there is known to have used it."
        return
    yield f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} used it, and will stay:"
    for own in runs:
        yield f"  {own.run}  ({own.recipe}, seed {own.seed}, {own.finished[:10]})"


def swept(found: Sequence[Leftover], *, dry_run: bool) -> str:
    """Return the total of a sweep, as a sentence."""
    gone = [own for own in found if not own.kept]
    total = human_size(sum(own.bytes for own in gone))
    done = "would remove" if dry_run else "removed"
    what = f"{len(gone)} {'leftover' if len(gone) == 1 else 'leftovers'}, {total}"
    stayed = f"; {len(found) - len(gone)} left alone" if len(gone) < len(found) else ""
    return f"{done} {what if gone else 'nothing'}{stayed}"


def leftover_line(own: Leftover) -> str:
    """Return a leftover, and what became of it, as a line."""
    state = f"left alone: {own.kept}" if own.kept else own.reason
    return f"{human_size(own.bytes):>9}  {own.path.name}  ({state})"


def format_of(store: Path) -> str:
    """Return the format that a store's suffix says.

    Examples
    --------
    >>> format_of(Path("lips-0123456789ab.zarr.zip"))
    'zip'
    """
    return FORMATS.get(suffix_of(store) or "", UNKNOWN)


def age_of(store: Path) -> str:
    """Return how long ago a store was built, or ``?`` where its ``build.json`` does not say."""
    try:
        built = datetime.fromisoformat(read_provenance(store)["built"])
    except (OSError, ValueError, TypeError, KeyError):
        return UNKNOWN
    return age(datetime.now(UTC) - (built if built.tzinfo else built.replace(tzinfo=UTC)))


def age(since: timedelta) -> str:
    """Return a time in its largest unit.

    Examples
    --------
    >>> age(timedelta(minutes=5)), age(timedelta(hours=47)), age(timedelta(days=3, hours=5))
    ('5 min', '47 h', '3 d')
    """
    minutes = max(0, int(since.total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


def ago(shown: str) -> str:
    """Return an age as a part of a sentence."""
    return "at an unknown time" if shown == UNKNOWN else f"{shown} ago"


def details(store: Store) -> str:
    """Return what a store holds, for people."""
    own = store.attributes
    if missing := [name for name in SHOWN if name not in own]:
        raise CorruptStoreError(
            f"{store.path} lacks what builds and imports write ({', '.join(missing)}); whoever "
            "wrote it has to write it again."
        )
    statistics, features = own["statistics"], own["features"]
    rows: list[Sequence[object]] = [
        ["path", store.path],
        ["key", store.key],
        ["title", store.title],
        ["features", f"{own['steps']} steps x {store.dim}, {store.dtype}"],
        ["mean", ", ".join(f"{value:.6f}" for value in statistics["mean"]) or "unknown"],
        ["std", ", ".join(f"{value:.6f}" for value in statistics["std"]) or "unknown"],
        ["measured on", _origin(statistics)],
        *([name, _plain(value)] for name, value in features.items()),
        ["short", f"{own['repeated_last_frame']} clips repeat their last frame"],
        ["failed", f"{int((store.status != 0).sum())} clips"],
        *([name, _plain(value)] for name, value in own["numerics"].items()),
        *([name, _plain(value)] for name, value in read_provenance(store.path).items()),
    ]
    lines = ["\n".join(f"{name:15} {value}" for name, value in rows)]
    lines += caveats(subjects_known=store.subjects_known, untrained=own["untrained"])
    if failed := list(failures(own, most=len(store))):
        lines.append("\n".join(failed))
    return "\n\n".join([*lines, _class_table(store)])


def _class_table(store: Store) -> str:
    rows: list[Sequence[object]] = [["class", *SPLITS]]
    rows += [
        [name, *(int(np.sum(store.labels[store.split(part)] == label)) for part in SPLITS)]
        for label, name in enumerate(store.classes)
    ]
    rows.append(["all", *(len(store.split(part)) for part in SPLITS)])
    if store.subjects_known:
        subjects = [len(np.unique(store.subjects[store.split(part)])) for part in SPLITS]
        rows.append(["subjects", *subjects])
    return table(rows)


def _origin(statistics: dict[str, Any]) -> str:
    if statistics["origin"] == "imported":
        return "unknown: the features were imported"
    if statistics["origin"] != "split":
        return f"nothing: {statistics['origin']} values"
    return (
        f"{statistics['pixels']} pixels of {statistics['frames']} frames of "
        f"{statistics['clips']} training clips"
    )
