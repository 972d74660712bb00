"""Runs that are compared as one, such as the seeds of a recipe, read from their folders."""

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
    """What one run, or several together, say about the clips of a part.

    Attributes
    ----------
    name : str
    runs : int
    stores : frozenset of str
        The keys of the stores that they were trained on.
    clips : tuple of (clip id, label)
        Sorted.
    owners : tuple of str, or None
        Whose each clip is: its subject, or its video where subjects are not known. None where a
        run does not say.
    subjects_known : bool
        Whether all runs know the subjects.
    conditions : frozenset of str
        What their scores came about by that others' need not: unlabelled data of val and test, an
        untrained backbone, training clips that could not be read. Each goes on from a name.
    seen, right : bool arrays (clips, runs)
        Whether a run classified a clip, and whether it got it right.
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

    @property
    def subjects(self) -> tuple[str, ...] | None:
        """One a clip; None where they are not known."""
        return self.owners if self.subjects_known else None

    @property
    def correct(self) -> Floats:
        """The share of the runs with a clip that got it right; float64 array (clips,)."""
        return np.asarray(self.right.sum(axis=1) / self.seen.sum(axis=1), np.float64)

    @property
    def shares(self) -> Floats:
        """What each run adds to `correct`; float64 array (clips, runs)."""
        return np.asarray(self.right / self.seen.sum(axis=1, keepdims=True), np.float64)

    @property
    def fewest(self) -> int:
        """How many runs there are of the split with the fewest."""
        return min(map(len, runs_by_split(self.seen)))


def read_group(runs: str | Sequence[Path], part: str) -> Group:
    """Read runs that stand together.

    Parameters
    ----------
    runs : str or sequence of Path
        As text the folder of a run, a folder that holds runs, or several of either with commas
        between; else the folders of runs.
    part : {"val", "test"}

    Raises
    ------
    InputError
        If a folder is no run and holds none, if a run is named twice or cannot be read, or if its
        part has no clips.
    """
    folders = _folders(runs) if isinstance(runs, str) else list(runs)
    text = runs if isinstance(runs, str) else ", ".join(map(str, runs))
    tables = [_predictions(folder, part) for folder in folders]
    clips = tuple(sorted(set().union(*tables)))
    if not clips:
        raise InputError(f"{text}: no {part} clips were classified; compare another part")
    found = [[table.get(clip) for table in tables] for clip in clips]
    rows = [next(row for row in own if row is not None) for own in found]
    owners = tuple(owner for row in rows if (owner := row.get("subject")) is not None)
    metrics = [read_metrics(folder) for folder in folders]
    right = [[bool(row and row["label"] == row["prediction"]) for row in own] for own in found]
    return Group(
        name=text,
        runs=len(folders),
        stores=frozenset(str(own["store_key"]) for own in metrics),
        clips=clips,
        owners=owners if len(owners) == len(clips) else None,
        subjects_known=all(own["subjects_known"] for own in metrics),
        conditions=frozenset(_conditions(metrics)),
        seen=np.array([[row is not None for row in own] for own in found]),
        right=np.array(right),
    )


def _conditions(metrics: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for own in metrics:
        if whose := UNLABELLED.get(own.get("standardise", "none")):
            yield f"standardises features by {whose}, with unlabelled val and test data"
        if own["untrained"]:
            yield "has features of an untrained backbone"
    failed = {own["store_key"]: own["failed_clips"]["train"] for own in metrics}
    if count := sum(failed.values()):
        yield f"was trained without {count_of(count, 'clip')} that could not be read"


def _folders(text: str) -> list[Path]:
    """Return every run that a text names, each once.

    Raises
    ------
    InputError
    """
    # A folder with commas in its name is meant itself.
    names = [text] if "," in text and Path(text).is_dir() else text.split(",")
    if not all(name.strip() for name in names):
        raise InputError(
            f"{text!r} has nothing before or after a comma, which would be the folder that this "
            "is called in; leave that comma out, or name the folder as ."
        )
    folders = [folder for name in names for folder in _runs(Path(name))]
    twice = [path for path, n in Counter(own.resolve() for own in folders).items() if n > 1]
    if twice:
        raise InputError(
            f"{text!r} names {twice[0]} more than once, and a run counts once; name it once"
        )
    return folders


def _runs(folder: Path) -> list[Path]:
    """Return a run itself, or the runs that a folder holds."""
    if (folder / "predictions.csv").is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/predictions.csv"))
    if not found:
        raise InputError(f"{folder}: neither a run nor a folder of runs; it has no predictions.csv")
    return [path for path in found if not path.name.startswith(".")]


def _predictions(folder: Path, part: str) -> dict[Clip, dict[str, str]]:
    """Read what a run says of the clips of a part."""
    rows = read_predictions(folder)
    return {(row["clip"], row["label"]): row for row in rows if row["part"] == part}
