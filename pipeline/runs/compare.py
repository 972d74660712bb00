"""Compare runs by paired tests on the clips that both classified.

Both runs classified the same clips, so the comparison is clip by clip. A bootstrap of the
difference draws the same clips, or the same subjects, for both. McNemar's exact test counts the
clips that only one of them got right (Dietterich, "Approximate Statistical Tests for Comparing
Supervised Classification Learning Algorithms", 1998).

Several runs, such as the seeds of a recipe, form a group. A clip then counts by the share of runs
that got it right, and the test is the sign test of these shares. For single runs that is McNemar's
test. Where a group has several runs of a split, the bootstrap also draws among these; see
`pipeline.metrics.run_variance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featstore.errors import InputError
from pipeline.metrics.bootstrap import (
    FEW_SUBJECTS,
    RESAMPLES,
    clip_units,
    percentiles,
    point,
    resampled,
    subject_units,
    widening,
)
from pipeline.metrics.run_variance import more_of_runs, variance_of_runs
from pipeline.metrics.significance import SIGNIFICANT, holm, normal_test, sign_test
from pipeline.runs.groups import Group, read_group
from pipeline.types import Floats, Ints

__all__ = ["Difference", "Group", "compare", "difference", "read_group"]

_ROUNDING = 1e-9


@dataclass(slots=True, kw_only=True)
class Difference:
    """The difference of a group from the first group.

    Attributes
    ----------
    first, other : Group
    subjects : int
        Number of subjects; 0 if unknown.
    scores : dict
        By score: ``first``, ``other``, ``difference`` and its interval over ``clips`` and
        ``subjects`` (None with fewer than two; widened by `pipeline.metrics.bootstrap.widening`).
    better, worse : int
        Number of clips that the other group got right more often, and less often.
    p : float
        p value of the sign test; `compare` corrects it for the number of groups.
    classes : list of dict
        ``class``, ``clips``, ``first``, ``other``, ``difference``, and ``p``, corrected over
        classes. ``p`` is from the sign test. With several runs of a split, it is the larger of
        that and a normal test with the variance over clips and over runs.
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
        """Return whether a score differs by more than chance: ``yes``, ``here`` or ``no``.

        ``here`` means on these clips, but not shown for other people: the interval over subjects
        includes 0, or there are too few subjects. For top-1 the p value must be significant too.
        """
        intervals = self.scores[score]
        if not _apart(intervals["clips"]) or (score == "top1" and self.p >= SIGNIFICANT):
            return "no"
        few = self.subjects < FEW_SUBJECTS
        return "here" if few or not _apart(intervals["subjects"]) else "yes"


def _apart(interval: Sequence[float] | None) -> bool:
    """Return whether an interval excludes 0 by more than rounding."""
    return interval is not None and (interval[0] > _ROUNDING or interval[1] < -_ROUNDING)


def compare(groups: Sequence[Group], *, seed: int = 0) -> list[Difference]:
    """Compare every group with the first.

    Parameters
    ----------
    groups : sequence of Group
        Two or more.
    seed : int
        Seed of the bootstrap.

    Raises
    ------
    InputError
        If a run is in two groups, or the groups were not scored on the same classes and the same
        clips with the same labels.
    """
    first, *others = groups
    _refuse_same_run(groups)
    for other in others:
        if first.classes and other.classes and first.classes != other.classes:
            odd = sorted(set(first.classes) ^ set(other.classes))
            raise InputError(
                f"{first.name} and {other.name} were trained on different class lists "
                f"({'only one has ' + ', '.join(odd) if odd else 'in another order'}); compare "
                "runs on the same classes"
            )
        if differing := len(set(first.clips) ^ set(other.clips)):
            raise InputError(
                f"{first.name} and {other.name} were not scored on the same clips: {differing} "
                f"differ in clip or label ({len(first.clips)} and {len(other.clips)} clips); "
                "compare runs on one split of one data set"
            )
    results = [difference(first, other, seed=seed) for other in others]
    for result, p in zip(results, holm([result.p for result in results]), strict=True):
        result.p = p
    return results


def _refuse_same_run(groups: Sequence[Group]) -> None:
    names: dict[Path, str] = {}
    for group in groups:
        for folder in group.folders:
            if folder in names:
                raise InputError(
                    f"{folder} is in {names[folder]} and in {group.name}; a run does not differ "
                    "from itself, so name other runs"
                )
        names |= dict.fromkeys(group.folders, group.name)


def difference(
    first: Group, other: Group, *, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """Return the difference of two groups on their clips, which are the same."""
    names, labels = np.unique([label for _, label in first.clips], return_inverse=True)
    subjects = first.subjects or other.subjects
    people = len(set(subjects or ()))
    parts = np.column_stack([-first.shares, other.shares])  # rows sum to the difference
    units = {"clips": (clip_units(labels, parts, len(names)), 1.0)}
    if people > 1:
        by_subject = subject_units(labels, parts, np.array(subjects), len(names))
        units["subjects"] = (by_subject, widening(people))
    scores: dict[str, dict[str, Any]] = {}
    for name, of_runs in point(units["clips"][0]).items():
        ours, theirs = -float(of_runs[: first.runs].sum()), float(of_runs[first.runs :].sum())
        scores[name] = {"first": ours, "other": theirs, "difference": theirs - ours}
        scores[name] |= {"clips": None, "subjects": None}
    rng = np.random.default_rng([seed, 1])  # independent of the clips
    more = np.column_stack([more_of_runs(group.seen, resamples, rng) for group in (first, other)])
    for over, (drawn, factor) in units.items():
        for name, draws in resampled(drawn, resamples=resamples, seed=seed).items():
            value = scores[name]["difference"]
            values = value + factor * (draws.sum(axis=1) - value) + (draws * more).sum(axis=1)
            scores[name][over] = percentiles(np.clip(values, -1, 1))
    better, worse = _signs(first.correct, other.correct)
    return Difference(
        first=first,
        other=other,
        subjects=people,
        scores=scores,
        better=better,
        worse=worse,
        p=sign_test(better, worse),
        classes=_classes(names.tolist(), labels, first, other),
    )


def _signs(first: Floats, other: Floats) -> tuple[int, int]:
    """Return the number of clips that the other group is better at, and worse at."""
    return int((other > first).sum()), int((other < first).sum())


def _classes(names: list[str], labels: Ints, first: Group, other: Group) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        in_class = labels == number
        ours, theirs = first.correct[in_class], other.correct[in_class]
        p = sign_test(*_signs(ours, theirs))
        mean = float((theirs - ours).mean())
        if trained := sum(
            variance_of_runs(group.seen, group.shares[in_class]) for group in (first, other)
        ):
            tested = float((theirs - ours).var()) / max(len(ours) - 1, 1)
            p = max(p, normal_test(mean, trained + tested))
        row = {"class": name, "clips": len(ours), "first": float(ours.mean())}
        rows.append(row | {"other": float(theirs.mean()), "difference": mean, "p": p})
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p"] = p
    return sorted(rows, key=lambda row: (row["p"], -abs(row["difference"]), row["class"]))
