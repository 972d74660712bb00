"""What is said of the stores of a folder: a table of all, and what one removal would take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from featstore.manage.leftovers import Leftover, size_of
from featstore.manage.provenance import read_provenance
from featstore.manage.removal import Target
from featstore.reading.store import Store
from featstore.text import human_size
from pipeline.build.summary import _plain, caveats, failures, table
from pipeline.cli.store_facts import (
    CONFIGURED,
    class_counts,
    refuse_incomplete,
    subject_count,
)
from pipeline.runs.register import KnownRun
from pipeline.sources.base import SPLITS

UNKNOWN = "?"


def listing(stores: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of stores.

    Parameters
    ----------
    stores : sequence of mapping
        As `pipeline.cli.store_facts.entry_facts` gives them.
    """
    rows: list[Sequence[object]] = [
        [
            *("store", "key", "format", "clips", "failed", "steps x dim"),
            *("backbone", "weights", "pixels", "fps", "size", "normalise"),
            *("GB", "age", "runs", "notes"),
        ]
    ]
    for store in stores:
        notes = [] if store["subjects_known"] else ["subjects unknown"]
        notes += ["UNTRAINED"] if store["untrained"] else []
        configured = [_shown(store[name]) for name in (*CONFIGURED, "normalise")]
        rows.append(
            [
                *(store["name"], store["key"][:12], _shown(store["format"])),
                *(sum(store["clips"].values()), store["failed"]),
                *(f"{_shown(store['steps'])} x {_shown(store['dim'])}", *configured),
                *(f"{store['bytes'] / 1e9:.3f}", age_since(store["built"]), store["runs"]),
                ", ".join(notes),
            ]
        )
    return table(rows)


def _shown(value: object) -> str:
    """Return a cell; of a checksum, enough to tell two apart.

    Examples
    --------
    >>> _shown("sha256:0123456789abcdef"), _shown("every frame"), _shown(None)
    ('sha256:012345', 'all', '?')
    """
    if value is None:
        return UNKNOWN
    text = str(value)
    short = text[:13] if text.startswith("sha256:") else text
    return "all" if short == "every frame" else short


def removal(target: Target, runs: Sequence[KnownRun]) -> Iterator[str]:
    """Yield what a user should know before a store is removed.

    Parameters
    ----------
    target : Target
    runs : sequence of KnownRun
        Those that used it.
    """
    path = target.path
    age = age_since(read_provenance(path).get("built"))
    yield f"{path}  {human_size(size_of(path))}, built {ago(age)}"
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


def age_since(built: object) -> str:
    """Return how long ago an ISO time was, or ``?`` where it is none."""
    try:
        then = datetime.fromisoformat(str(built))
    except ValueError:
        return UNKNOWN
    return age(datetime.now(UTC) - (then if then.tzinfo else then.replace(tzinfo=UTC)))


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
    refuse_incomplete(store)
    own = store.attributes
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
    rows += [list(row.values()) for row in class_counts(store)]
    rows.append(["all", *(len(store.split(part)) for part in SPLITS)])
    if store.subjects_known:
        rows.append(["subjects", *(subject_count(store, part) for part in SPLITS)])
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
