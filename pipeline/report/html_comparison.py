"""The page of a comparison of runs: the classes and the clips that moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipeline.report.comparison import comparison, heading
from pipeline.report.html_charts import Bar, bars
from pipeline.report.html_page import document, sections_of
from pipeline.report.html_text import escaped, table
from pipeline.report.markdown import points
from pipeline.runs.compare import Difference
from pipeline.runs.groups import Group

MOST_MOVED = 200


def page(differences: Sequence[Difference], part: str) -> str:
    """Return the page of a comparison.

    Parameters
    ----------
    differences : sequence of Difference
        The result of `pipeline.runs.compare.compare`; at least one.
    part : {"val", "test"}
    """
    title, sections = sections_of(comparison(differences, part))
    for difference in differences:
        name = heading(difference)
        sections[name] = _classes(difference, name) + sections[name]
    for difference in differences:
        sections[f"{difference.other.name}: clips"] = _moved(difference)
    return document(title, sections)


def _classes(difference: Difference, caption: str) -> str:
    ordered = sorted(difference.classes, key=lambda row: -row["difference"])
    rows = [Bar(row["class"], [row["difference"]], points(row["difference"])) for row in ordered]
    header = ["class", "worse, or better", "points"]
    return bars(header, rows, f"{caption}, the most improved first")


def _moved(difference: Difference) -> str:
    """Return a table of the clips that one group classified better than the other."""
    first, other = difference.first, difference.other
    change = other.correct - first.correct
    moved = np.flatnonzero(change)
    moved = moved[np.lexsort((moved, -np.abs(change[moved])))]
    if not len(moved):
        return "<p>No clip moved.</p>"
    said = f"<p>{difference.better} clips better, {difference.worse} worse"
    if len(moved) > MOST_MOVED:
        said += f"; the {MOST_MOVED} that changed most are shown"
    rows = []
    for clip in moved[:MOST_MOVED].tolist():
        name, label = first.clips[clip]
        subject = first.subjects[clip] if first.subjects else ""
        guesses = [_guess(group, clip, label) for group in (first, other)]
        rows.append([*map(escaped, (name, label, subject, *guesses)), points(change[clip])])
    header = ["clip", "class", "subject", escaped(first.name), escaped(other.name), "points"]
    caption = f"clips that {other.name} classified better or worse than {first.name}"
    moved_table = table(header, rows, caption, sortable=True)
    return f'{said}.</p><div class="words">{moved_table}</div>'


def _guess(group: Group, clip: int, label: str) -> str:
    """Return what the runs of a group predicted for a clip."""
    guesses = Counter(guess for guess in group.guesses[clip] if guess)
    if guesses.total() == 1:
        return next(iter(guesses))
    right = f"{guesses.pop(label, 0)} of {int(group.seen[clip].sum())} right"
    return f"{right}, else mostly {guesses.most_common(1)[0][0]}" if guesses else right
