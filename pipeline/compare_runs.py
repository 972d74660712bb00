"""Whether one run is better than another: paired tests on the clips that both classified.

Both saw the same clips, so they are compared clip by clip: a bootstrap of the difference draws the
same clips, or the same subjects, for both, and McNemar's exact test counts the clips that only one
of them got right (Dietterich, "Approximate Statistical Tests for Comparing Supervised
Classification Learning Algorithms", 1998). Several runs, such as the seeds of a recipe, stand
together as a group: a clip then counts by the share of them that got it right, and the test is the
sign test of these shares, which for single runs is McNemar's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featstore.errors import InputError
from pipeline.groups import Group, read_group
from pipeline.intervals import (
    FEW_SUBJECTS,
    SCORES,
    clip_units,
    percentiles,
    point,
    resampled,
    subject_units,
)

__all__ = ["Difference", "Group", "compare", "difference", "holm", "read_group", "sign_test"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SIGNIFICANT = 0.05


def sign_test(better: int, worse: int) -> float:
    """Return the exact two-sided p value of so many signs either way.

    With the clips that one of two runs alone got right, this is McNemar's exact test.

    Examples
    --------
    >>> round(sign_test(8, 1), 6)
    0.039062
    """
    n, fewer = better + worse, min(better, worse)
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(log - n * math.log(2)) for log in logs))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for how many there are (Holm, 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


@dataclass(slots=True, kw_only=True)
class Difference:
    """How a group differs from the first one.

    Attributes
    ----------
    first, other : Group
    subjects : int
        0 where they are not known.
    scores : dict
        By score: ``first``, ``other``, ``difference`` and its interval over ``clips`` and
        ``subjects`` (None with fewer than two).
    better, worse : int
        Clips that the other got right more often, and less often.
    p : float
        Of the sign test; corrected by `compare` for the number of groups.
    classes : list of dict
        ``class``, ``clips``, ``first``, ``other``, ``difference``, ``p`` (corrected over classes).
    """

    first: Group
    other: Group
    subjects: int
    scores: dict[str, dict[str, Any]]
    better: int
    worse: int
    p: float
    classes: list[dict[str, Any]]

    def holds(self, score: str) -> str:
        """Say whether a score differs by more than chance: ``yes``, ``here`` or ``no``.

        ``here`` is on these clips, but not shown for other people: the interval over subjects
        holds 0, or there are too few to draw from. The p value counts for top-1, which it tests.
        """
        found = self.scores[score]
        if not _apart(found["clips"]) or (score == "top1" and self.p >= SIGNIFICANT):
            return "no"
        few = self.subjects < FEW_SUBJECTS
        return "here" if few or not _apart(found["subjects"]) else "yes"


def _apart(interval: Sequence[float] | None) -> bool:
    return interval is not None and not interval[0] <= 0 <= interval[1]


def compare(groups: Sequence[Group], *, seed: int = 0) -> list[Difference]:
    """Compare every group with the first.

    Parameters
    ----------
    groups : sequence of Group
        Two or more.
    seed : int
        Of the bootstrap.

    Raises
    ------
    InputError
        If they were not scored on the same clips with the same labels.
    """
    first, *others = groups
    for other in others:
        if differing := len(set(first.clips) ^ set(other.clips)):
            raise InputError(
                f"{first.name} and {other.name} were not scored on the same clips: {differing} "
                f"differ in clip or label ({len(first.clips)} and {len(other.clips)} clips); "
                "compare runs on one split of one data set"
            )
    found = [difference(first, other, seed=seed) for other in others]
    for own, p in zip(found, holm([own.p for own in found]), strict=True):
        own.p = p
    return found


def difference(first: Group, other: Group, *, seed: int = 0) -> Difference:
    """Compare two groups on the clips that both have, which are the same."""
    names, labels = np.unique([label for _, label in first.clips], return_inverse=True)
    correct = np.column_stack([first.correct, other.correct])
    subjects = first.subjects or other.subjects
    units = {"clips": clip_units(labels, correct, len(names))}
    people = len(set(subjects or ()))
    if people > 1:
        units["subjects"] = subject_units(labels, correct, np.array(subjects), len(names))
    draws = {over: resampled(own, seed=seed) for over, own in units.items()}
    points = point(units["clips"])
    scores: dict[str, dict[str, Any]] = {}
    for name in SCORES:
        ours, theirs = points[name].tolist()
        intervals = {
            over: percentiles(np.diff(own[name], axis=1)[:, 0]) for over, own in draws.items()
        }
        scores[name] = {"first": ours, "other": theirs, "difference": theirs - ours}
        scores[name] |= {"subjects": None} | intervals
    better, worse = _signs(correct)
    return Difference(
        first=first,
        other=other,
        subjects=people,
        scores=scores,
        better=better,
        worse=worse,
        p=sign_test(better, worse),
        classes=_classes(names.tolist(), labels, correct),
    )


def _signs(correct: Floats) -> tuple[int, int]:
    """Count the clips that the second column is better and worse at."""
    return int((correct[:, 1] > correct[:, 0]).sum()), int((correct[:, 1] < correct[:, 0]).sum())


def _classes(names: list[str], labels: Ints, correct: Floats) -> list[dict[str, Any]]:
    rows = []
    for number, name in enumerate(names):
        own = correct[labels == number]
        first, other = own.mean(axis=0).tolist()
        row = {"class": name, "clips": len(own), "first": first, "other": other}
        rows.append(row | {"difference": other - first, "p": sign_test(*_signs(own))})
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p"] = p
    return sorted(rows, key=lambda row: (row["p"], -abs(row["difference"]), row["class"]))
