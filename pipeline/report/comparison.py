"""What a comparison of runs says, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from featstore.text import count_of
from pipeline.metrics.bootstrap import FEW_SUBJECTS, LEVEL, RESAMPLES
from pipeline.metrics.significance import SIGNIFICANT
from pipeline.report.markdown import SCORE_NAMES, listed, percent, percents, plain, points, table
from pipeline.runs.compare import Difference, Group

_HOLDS = {
    "yes": "which holds",
    "here": "which holds on these clips and is not shown for other people",
    "no": "which is no more than chance can do",
}
_WORDS = {"yes": "yes", "here": "on these clips", "no": "no"}


def comparison(differences: Sequence[Difference], part: str) -> str:
    """Say how groups of runs differ from the first one.

    Parameters
    ----------
    differences : sequence of Difference
        As `pipeline.runs.compare.compare` gives them; at least one.
    part : {"val", "test"}
    """
    first = differences[0].first
    lines = [f"# Against {plain(first.name)} on {part}", "", _protocol(differences), ""]
    lines += [f"- {sentence(own)}" for own in differences]
    lines += [f"- {note}" for own in differences if (note := plain(_stores(first, own.other)))]
    lines += [f"- {plain(note)}" for own in differences for note in _conditions(first, own.other)]
    lines += ["", *_scores(differences), ""]
    for own in differences:
        lines += [f"## {plain(own.other.name)}: classes", "", *_classes(own), ""]
    return "\n".join(lines)


def sentence(own: Difference) -> str:
    """Say in one sentence whether a difference holds, and on which classes."""
    parts = [
        f"{SCORE_NAMES[name]} {points(scores['difference'])}, {_HOLDS[own.holds(name)]}"
        for name, scores in own.scores.items()
    ]
    sure = [row for row in own.classes if row["p"] < SIGNIFICANT]
    named = plain(listed([f"{row['class']} ({points(row['difference'])})" for row in sure]))
    where = f"by class it holds on {named}" if sure else "it holds on no single class"
    return f"**{plain(own.other.name)}**: {'; '.join(parts)}; {where}."


def _protocol(differences: Sequence[Difference]) -> str:
    own, groups = differences[0], [differences[0].first, *(each.other for each in differences)]
    lines = [
        f"{count_of(len(own.first.clips), 'clip')}, the same for all. Differences in points, with "
        f"{100 * LEVEL:.0f} % intervals of a paired bootstrap ({RESAMPLES} resamples) over clips "
        "and over subjects, the latter widened for being few; p of McNemar's exact test (with "
        "several runs: the sign test of the shares that were right), corrected by Holm's method."
    ]
    once = [group.name for group in groups if group.fewest == 1]
    if len(once) < len(groups):
        lines.append(
            "Resamples draw the runs of a split too, so the chance in training is in the intervals."
        )
    if once:
        lines.append(
            f"A single run of a split, as in {plain(listed(once))}, says nothing of the chance "
            "in training: give several seeds."
        )
    if not own.subjects:
        lines.append("Subjects are not known to these runs, so nothing is said of other people.")
    elif own.subjects < FEW_SUBJECTS:
        lines.append(
            f"With {count_of(own.subjects, 'subject')} the interval over subjects cannot be "
            "trusted, and nothing is said of other people."
        )
    return " ".join(lines)


def _stores(first: Group, other: Group) -> str:
    if first.stores == other.stores:
        return ""
    ours, theirs = (", ".join(sorted(key[:12] for key in g.stores)) for g in (first, other))
    return (
        f"{first.name} and {other.name} name different stores ({ours} and {theirs}): the "
        "difference is one of features as well."
    )


def _conditions(first: Group, other: Group) -> list[str]:
    """Say what only one of the two was trained or scored with."""
    return [
        f"Of {first.name} and {other.name}, only {one.name} {condition}."
        for one, another in ((first, other), (other, first))
        for condition in sorted(one.conditions - another.conditions)
    ]


def _scores(differences: Sequence[Difference]) -> list[str]:
    header = ["", "runs", "score", "value", "difference", "over clips", "over subjects", "holds"]
    first = differences[0]
    rows = [
        [first.first.name, str(first.first.runs), SCORE_NAMES[name], percent(scores["first"])]
        + ["–"] * 4
        for name, scores in first.scores.items()
    ]
    for own in differences:
        for name, scores in own.scores.items():
            rows.append(
                [
                    *(own.other.name, str(own.other.runs), SCORE_NAMES[name]),
                    *(percent(scores["other"]), points(scores["difference"])),
                    *(percents(scores[over]) for over in ("clips", "subjects")),
                    _WORDS[own.holds(name)],
                ]
            )
    signs = [
        [own.other.name, str(own.better), str(own.worse), f"{own.p:.2g}"] for own in differences
    ]
    return [*table(header, rows), "", *table(["", "clips better", "clips worse", "p"], signs)]


def _classes(own: Difference) -> list[str]:
    rows = [
        [
            *(row["class"], str(row["clips"]), percent(row["first"]), percent(row["other"])),
            *(points(row["difference"]), f"{row['p']:.2g}"),
        ]
        for row in own.classes
    ]
    return table(["class", "clips", "first", "this", "difference", "p (Holm)"], rows)
