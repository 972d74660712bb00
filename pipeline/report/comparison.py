"""The report of a comparison of runs, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from featstore.text import count_of, listed
from pipeline.metrics.bootstrap import FEW_SUBJECTS, LEVEL, RESAMPLES
from pipeline.metrics.classification import score_name
from pipeline.metrics.significance import SIGNIFICANT
from pipeline.report.markdown import percent, percents, plain, points, table
from pipeline.runs.compare import Difference, Group

_HOLDS = {
    "yes": "significant",
    "here": "significant on these clips, not shown for other people",
    "no": "within chance",
}
_WORDS = {"yes": "yes", "here": "on these clips", "no": "no"}


def comparison(differences: Sequence[Difference], part: str) -> str:
    """Return the report on how groups of runs differ from the first group.

    Parameters
    ----------
    differences : sequence of Difference
        The result of `pipeline.runs.compare.compare`; at least one.
    part : {"val", "test"}
    """
    first = differences[0].first
    lines = [f"# Against {plain(first.name)} on {part}", "", _protocol(differences), ""]
    lines += [f"- {sentence(difference)}" for difference in differences]
    lines += [
        f"- {note}"
        for difference in differences
        if (note := plain(_stores(first, difference.other)))
    ]
    lines += [
        f"- {plain(note)}"
        for difference in differences
        for note in _conditions(first, difference.other)
    ]
    lines += ["", *_scores(differences), ""]
    for difference in differences:
        lines += [f"## {plain(heading(difference))}", "", *_classes(difference), ""]
    return "\n".join(lines)


def heading(difference: Difference) -> str:
    """Return the heading of the table of classes."""
    return f"{difference.other.name}: classes"


def sentence(difference: Difference) -> str:
    """Return one sentence: whether a difference is significant, and on which classes."""
    parts = [
        f"{score_name(name)} {points(scores['difference'])}, {_HOLDS[difference.holds(name)]}"
        for name, scores in difference.scores.items()
    ]
    sure = [row for row in difference.classes if row["p"] < SIGNIFICANT]
    named = plain(listed([f"{row['class']} ({points(row['difference'])})" for row in sure]))
    where = f"significant classes: {named}" if sure else "no single class is significant"
    return f"**{plain(difference.other.name)}**: {'; '.join(parts)}; {where}."


def _protocol(differences: Sequence[Difference]) -> str:
    first_difference, groups = (
        differences[0],
        [differences[0].first, *(difference.other for difference in differences)],
    )
    lines = [
        f"{count_of(len(first_difference.first.clips), 'clip')}, the same for all. "
        "Differences in points, with "
        f"{100 * LEVEL:.0f} % intervals of a paired bootstrap ({RESAMPLES} resamples) over clips "
        "and over subjects, the latter widened for small samples. p values: McNemar's exact test "
        "(with several runs, the sign test on the share of correct runs), corrected by Holm."
    ]
    once = [group.name for group in groups if group.fewest == 1]
    if len(once) < len(groups):
        lines.append(
            "Resamples also draw the runs of a split, so the intervals include training variance."
        )
    if once:
        lines.append(
            f"A single run per split, as in {plain(listed(once))}, cannot show training variance; "
            "train with several seeds."
        )
    if not first_difference.subjects:
        lines.append(
            "These runs do not know the subjects, so the result does not extend to other people."
        )
    elif first_difference.subjects < FEW_SUBJECTS:
        lines.append(
            f"With {count_of(first_difference.subjects, 'subject')} the interval over subjects is "
            "unreliable, and the result does not extend to other people."
        )
    return " ".join(lines)


def _stores(first: Group, other: Group) -> str:
    if first.stores == other.stores:
        return ""
    first_keys, other_keys = (
        ", ".join(sorted(key[:12] for key in g.stores)) for g in (first, other)
    )
    return (
        f"{first.name} and {other.name} use different stores ({first_keys} and {other_keys}): the "
        "features differ too."
    )


def _conditions(first: Group, other: Group) -> list[str]:
    """Return the conditions of training or scoring that only one of the two groups has."""
    return [
        f"Of {first.name} and {other.name}, only {one.name} {condition}."
        for one, another in ((first, other), (other, first))
        for condition in sorted(one.conditions - another.conditions)
    ]


def _scores(differences: Sequence[Difference]) -> list[str]:
    header = ["", "runs", "score", "value", "difference", "over clips", "over subjects"]
    header.append("significant")
    first = differences[0]
    rows = [
        [first.first.name, str(first.first.runs), score_name(name), percent(scores["first"])]
        + ["–"] * 4
        for name, scores in first.scores.items()
    ]
    for difference in differences:
        for name, scores in difference.scores.items():
            rows.append(
                [
                    *(difference.other.name, str(difference.other.runs), score_name(name)),
                    *(percent(scores["other"]), points(scores["difference"])),
                    *(percents(scores[over]) for over in ("clips", "subjects")),
                    _WORDS[difference.holds(name)],
                ]
            )
    signs = [
        [
            difference.other.name,
            str(difference.better),
            str(difference.worse),
            f"{difference.p:.2g}",
        ]
        for difference in differences
    ]
    return [*table(header, rows), "", *table(["", "clips better", "clips worse", "p"], signs)]


def _classes(difference: Difference) -> list[str]:
    rows = [
        [
            *(row["class"], str(row["clips"]), percent(row["first"]), percent(row["other"])),
            *(points(row["difference"]), f"{row['p']:.2g}"),
        ]
        for row in difference.classes
    ]
    return table(["class", "clips", "first", "this", "difference", "p (Holm)"], rows)
