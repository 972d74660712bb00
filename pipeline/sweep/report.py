"""A sweep's report, table and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.format.files import write_text
from featstore.text import count_of
from pipeline.metrics.classification import score_name
from pipeline.report.figures import BLUE, GREY, ORANGE
from pipeline.report.html_charts import Bar, bars, scatter
from pipeline.report.html_page import document, sections_of
from pipeline.report.html_text import escaped
from pipeline.report.html_text import table as html_table
from pipeline.report.markdown import percent, plain, table
from pipeline.runs.files import write_csv
from pipeline.sweep.space import Space
from pipeline.sweep.study import Row, best_score, ranked
from pipeline.system.progress import human_time
from pipeline.train.trial import best_of, is_better

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 10
FIGURES = {
    "history": "Scores of the trials, and the best so far",
    "importance": "How much of the score's variance each field explains",
}


def write_outputs(
    out: Path,
    space: Space,
    rows: Sequence[Row],
    importance: Mapping[str, float],
    *,
    title: str,
    seed: int,
) -> None:
    """Write every output file except the recipe.

    Parameters
    ----------
    out : Path
    space : Space
    rows : sequence of Row
        The ended trials; at least one is complete.
    importance : mapping of str to float
        Importance by field; empty if unknown.
    title : str
        The store's title.
    seed : int
    """
    monitor = space.base.train.monitor
    write_csv(out / "trials.csv", [_cells(row, monitor) for row in rows])
    figures = {"history": history(rows, monitor)}
    if importance:
        figures["importance"] = importance_of(importance, monitor)
    (out / "figures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(out / "figures" / f"{name}.png", dpi=120)
    sections = [
        [f"# Sweep of {plain(space.base.name)} on {plain(title)}"],
        [f"- {line}" for line in summary(rows, monitor, seed)],
        [f"## The best {SHOWN}", "", *_best(space, rows, monitor)],
        ["## Winner", "", "`best.yaml` is its recipe, for `featstore train --recipe`."],
        ["## Figures", *(f"\n![{FIGURES[name]}](figures/{name}.png)" for name in figures)],
    ]
    text = "\n\n".join("\n".join(lines) for lines in sections) + "\n"
    write_text(out / "report.md", text)
    write_text(out / "report.html", page(text, space, rows, importance))


def page(report: str, space: Space, rows: Sequence[Row], importance: Mapping[str, float]) -> str:
    """Return the page of a sweep.

    Parameters
    ----------
    report : str
        ``report.md``.
    space, rows, importance
        See `write_outputs`.
    """
    monitor = space.base.train.monitor
    title, sections = sections_of(report)
    sections.pop("Figures")
    sections["Trials"] = _trials(rows, monitor)
    if importance:
        order = sorted(importance, key=lambda name: -importance[name])
        shares = [Bar(name, [importance[name]], percent(importance[name])) for name in order]
        sections["Importance"] = bars(
            ["field", "", "share (fANOVA)"], shares, FIGURES["importance"]
        )
    cells = [{name: _short(value) for name, value in _cells(row, monitor).items()} for row in rows]
    values = [list(map(escaped, row.values())) for row in cells]
    names = list(map(escaped, cells[0]))
    sections["All trials"] = html_table(names, values, "all trials", sortable=True)
    return document(title, sections)


def _trials(rows: Sequence[Row], monitor: str) -> str:
    """Return a chart of the score of each trial, and of the best so far."""
    styles = {"complete": "a", "pruned": "g"}
    points = [
        (row.number, score, styles[row.state], f"trial {row.number}: {shown(score, monitor)}")
        for row in rows
        if row.state in styles and row.scores
        for score in [best_score(row, monitor)]
    ]
    numbers, best = _best_so_far(rows, monitor)
    legend = {"a": "complete", "g": "pruned, best so far", "b": f"best, {shown(best[-1], monitor)}"}
    about = f"val {score_name(monitor)} of {len(points)} trials, at best {shown(best[-1], monitor)}"
    steps = list(zip(numbers, best, strict=True))
    return scatter(f"val {score_name(monitor)}", points, steps, legend, about)


def summary(rows: Sequence[Row], monitor: str, seed: int) -> list[str]:
    """Return how the scores were obtained, one sentence per entry."""
    states = Counter(row.state for row in rows)
    counts = f"{states['complete']} complete, {states['pruned']} pruned, {states['fail']} failed"
    spent = human_time(sum(row.seconds for row in rows))
    reasons = list(dict.fromkeys(row.why for row in rows if row.why))
    return [
        f"{count_of(len(rows), 'trial')}: {counts}; {spent} of training in total.",
        f"A score is the {score_name(monitor)} on val in a trial's best epoch. Every trial used "
        f"seed {seed}.",
        f"The winner is the best of {count_of(len(rows), 'trial')} on val, so its score is biased "
        "upwards. No trial used test; `--final` tests the winner once.",
        *(f"Failed: {plain(reason)}." for reason in reasons),
    ]


def shown(score: float, monitor: str) -> str:
    """Return a score as text: a percentage, or a plain number for a loss."""
    return f"{score:.3f}" if monitor == "loss" else percent(score)


def _cells(row: Row, monitor: str) -> dict[str, Any]:
    """Return a trial as a row of the table."""
    scored = bool(row.scores)
    return {
        "trial": row.number,
        "state": row.state,
        f"val_{monitor}": best_score(row, monitor) if scored else "",
        "best_epoch": best_of(row.scores, monitor) + 1 if scored else "",
        "epochs": len(row.scores),
        "seconds": row.seconds,
        **row.values,
        "why": row.why,
    }


def _best(space: Space, rows: Sequence[Row], monitor: str) -> list[str]:
    """Return the table of the best trials."""
    header = ["trial", f"val {score_name(monitor)}", "best epoch", "seconds", *space.fields]
    cells = [
        [
            *(str(row.number), shown(best_score(row, monitor), monitor)),
            *(str(best_of(row.scores, monitor) + 1), f"{row.seconds:.1f}"),
            *map(_short, row.values.values()),
        ]
        for row in ranked(rows, monitor)[:SHOWN]
    ]
    return table(header, cells)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def history(rows: Sequence[Row], monitor: str) -> Figure:
    """Draw the score of every trial in order, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(8, 3.8)
    axes = figure.subplots()
    for state, colour, marker, label in (
        ("complete", BLUE, "o", "complete"),
        ("pruned", GREY, "x", "pruned, best so far"),
    ):
        in_state = [row for row in rows if row.state == state]
        if in_state:
            scores = [best_score(row, monitor) for row in in_state]
            axes.plot(
                [row.number for row in in_state], scores, marker, color=colour, ms=4, label=label
            )
    numbers, best = _best_so_far(rows, monitor)
    axes.step(numbers, best, where="post", color=ORANGE, label=f"best, {shown(best[-1], monitor)}")
    axes.set(title="Trials", xlabel="trial", ylabel=f"val {score_name(monitor)}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _best_so_far(rows: Sequence[Row], monitor: str) -> tuple[list[int], list[float]]:
    """Return the trials where the best complete score changes, and the scores."""
    numbers: list[int] = []
    best: list[float] = []
    for row in rows:
        score = best_score(row, monitor) if row.state == "complete" else None
        if score is not None and (not best or is_better(score, best[-1], monitor)):
            numbers.append(row.number)
            best.append(score)
    return [*numbers, rows[-1].number], [*best, best[-1]]


def importance_of(importance: Mapping[str, float], monitor: str) -> Figure:
    """Draw the importance of every field, most important first."""
    figure = _figure(7, 1.4 + 0.35 * len(importance))
    axes = figure.subplots()
    order = sorted(importance, key=lambda name: importance[name], reverse=True)
    shares = [importance[name] for name in order]
    positions = np.arange(len(order))
    axes.barh(positions, shares, color=BLUE, height=0.65)
    for position, share in zip(positions.tolist(), shares, strict=True):
        axes.text(share + 0.01, position, percent(share), va="center", fontsize=8)
    axes.set_yticks(positions, order)
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.set(xlim=(0, 1.12), ylim=(len(order) - 0.4, -0.6), xlabel="share (fANOVA)")
    axes.set_title(f"Importance for val {score_name(monitor)}", fontsize=11)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
