"""Groups of runs that are compared as one, such as the seeds of a recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featstore.errors import InputError
from featstore.text import count_of
from pipeline.metrics.run_variance import runs_by_split
from pipeline.runs.files import UNLABELLED, read_metrics, read_predictions
from pipeline.types import Bools, Floats

Clip = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The predictions of one or several runs on the clips of a part.

    Attributes
    ----------
    name : str
    runs : int
    folders : tuple of Path
        Resolved, one per run.
    classes : tuple of str
        The class list that all were scored on; empty where the runs have several.
    stores : frozenset of str
        The keys of the stores that the runs were trained on.
    clips : tuple of (clip id, label)
        Sorted.
    owners : tuple of str, or None
        The subject of each clip, or its video if subjects are unknown. None if a run has neither.
    subjects_known : bool
        Whether all runs know the subjects.
    conditions : frozenset of str
        Conditions that another group may not share: unlabelled val and test data, an untrained
        backbone, unreadable training clips. Each is a predicate that follows a name.
    seen, right : bool arrays (clips, runs)
        Whether a run classified a clip, and whether it got it right.
    guesses : tuple of tuples of str
        By clip, the class that each run predicted; empty for a run that did not classify it.
    """

    name: str
    runs: int
    stores: frozenset[str]
    clips: tuple[Clip, ...]
    owners: tuple[str, ...] | None
    subjects_known: bool
    conditions: frozenset[str] = frozenset()
    seen: Bools
    right: Bools
    folders: tuple[Path, ...] = ()
    classes: tuple[str, ...] = ()
    guesses: tuple[tuple[str, ...], ...] = ()

    @property
    def subjects(self) -> tuple[str, ...] | None:
        """The subject of each clip; None if unknown."""
        return self.owners if self.subjects_known else None

    @property
    def correct(self) -> Floats:
        """The share of each clip's runs that got it right; float64 array (clips,)."""
        return np.asarray(self.right.sum(axis=1) / self.seen.sum(axis=1), np.float64)

    @property
    def shares(self) -> Floats:
        """The contribution of each run to `correct`; float64 array (clips, runs)."""
        return np.asarray(self.right / self.seen.sum(axis=1, keepdims=True), np.float64)

    @property
    def fewest(self) -> int:
        """The smallest number of runs per split."""
        return min(map(len, runs_by_split(self.seen)))


def read_group(runs: str | Sequence[Path], part: str) -> Group:
    """Read runs as one group.

    Parameters
    ----------
    runs : str or sequence of Path
        Text names run folders or folders of runs, separated by commas. A sequence holds run
        folders.
    part : {"val", "test"}

    Raises
    ------
    InputError
        If a folder is neither a run nor a folder of runs, if a run is named twice or unreadable,
        or if the part has no clips.
    """
    folders = _folders(runs) if isinstance(runs, str) else list(runs)
    text = runs if isinstance(runs, str) else ", ".join(map(str, runs))
    tables = [_predictions(folder, part) for folder in folders]
    clips = tuple(sorted(set().union(*tables)))
    if not clips:
        raise InputError(f"{text}: no {part} clips were classified; compare another part")
    by_clip = [[table.get(clip) for table in tables] for clip in clips]
    rows = [next(row for row in of_runs if row is not None) for of_runs in by_clip]
    owners = tuple(owner for row in rows if (owner := row.get("subject")) is not None)
    metrics = [read_metrics(folder) for folder in folders]
    right = [
        [bool(row and row["label"] == row["prediction"]) for row in of_runs] for of_runs in by_clip
    ]
    return Group(
        name=text,
        runs=len(folders),
        stores=frozenset(str(run["store_key"]) for run in metrics),
        clips=clips,
        owners=owners if len(owners) == len(clips) else None,
        subjects_known=all(run["subjects_known"] for run in metrics),
        conditions=frozenset(_conditions(metrics)),
        seen=np.array([[row is not None for row in of_runs] for of_runs in by_clip]),
        right=np.array(right),
        folders=tuple(folder.resolve() for folder in folders),
        classes=_classes(metrics, part),
        guesses=tuple(
            tuple(row["prediction"] if row else "" for row in of_runs) for of_runs in by_clip
        ),
    )


def _classes(metrics: Sequence[Mapping[str, Any]], part: str) -> tuple[str, ...]:
    """Return the class list of runs, or nothing where they have several."""
    lists = {tuple(row["class"] for row in run[part]["per_class"]) for run in metrics}
    return lists.pop() if len(lists) == 1 else ()


def _conditions(metrics: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for run in metrics:
        if statistics := UNLABELLED.get(run.get("standardise", "none")):
            yield f"standardises features by {statistics}, with unlabelled val and test data"
        if run["untrained"]:
            yield "has features of an untrained backbone"
    failed = {run["store_key"]: run["failed_clips"]["train"] for run in metrics}
    if count := sum(failed.values()):
        yield f"was trained without {count_of(count, 'clip')} that could not be read"


def _folders(text: str) -> list[Path]:
    """Return every run folder that a text names.

    Raises
    ------
    InputError
        If a name is empty or a run is named twice.
    """
    # An existing folder with commas in its name counts as one name.
    names = [text] if "," in text and Path(text).is_dir() else text.split(",")
    if not all(name.strip() for name in names):
        raise InputError(
            f"{text!r} has an empty name before or after a comma; remove that comma, or name the "
            "current folder as ."
        )
    folders = [folder for name in names for folder in _runs(Path(name))]
    twice = [path for path, n in Counter(folder.resolve() for folder in folders).items() if n > 1]
    if twice:
        raise InputError(f"{text!r} names {twice[0]} more than once; name each run once")
    return folders


def _runs(folder: Path) -> list[Path]:
    """Return the folder if it is a run, or the runs that it holds."""
    if (folder / "predictions.csv").is_file():
        return [folder]
    folders = sorted(path.parent for path in folder.glob("*/predictions.csv"))
    if not folders:
        raise InputError(f"{folder}: neither a run nor a folder of runs; it has no predictions.csv")
    return [path for path in folders if not path.name.startswith(".")]


def _predictions(folder: Path, part: str) -> dict[Clip, dict[str, str]]:
    """Read a run's predictions on a part, by clip and label."""
    rows = read_predictions(folder)
    return {(row["clip"], row["label"]): row for row in rows if row["part"] == part}
