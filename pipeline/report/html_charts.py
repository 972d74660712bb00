"""The charts of the page as inline SVG, coloured by its style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pipeline.metrics.calibration import Reliability
from pipeline.metrics.classification import score_name
from pipeline.report.html_text import escaped, table

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 18, 12, 32
MOST_HOVERED = 200  # with more epochs, the chart has no hover titles

Row = Mapping[str, float]


class Bar(NamedTuple):
    """A row of `bars`: its name, a bar of one value or dots of several, and the value as text."""

    name: str
    values: Sequence[float]
    text: str
    bar: bool = True


def curves(history: Sequence[Row], best_epoch: int) -> str:
    """Return two charts by epoch, of the losses and of the scores.

    Parameters
    ----------
    history : sequence of mapping
        The rows of ``history.csv``, at least one.
    best_epoch : int
        Counted from 1; marked in both charts.
    """
    train = next((key for key in ("train_target_mass", "train_top1") if key in history[0]), "")
    scores = [(key, style) for key, style in (
        (train, "a"), ("val_top1", "b"), ("val_mean_class_accuracy", "c")) if key]  # fmt: skip
    losses = [("train_loss", "a"), ("val_loss", "b")]
    most = max((row[key] for row in history for key, _ in losses if math.isfinite(row[key])),
               default=1.0)  # fmt: skip
    return (
        '<div class="charts">'
        f"{_lines('Loss', history, losses, best_epoch, most or 1.0)}"
        f"{_lines('Score', history, scores, best_epoch, 1.0)}</div>"
    )


def _named(key: str) -> str:
    part, _, score = key.partition("_")
    return f"{part} {score_name(score).replace('_', ' ')}"


def _lines(
    title: str, history: Sequence[Row], series: Sequence[tuple[str, str]], best: int, most: float
) -> str:
    first, last = history[0]["epoch"], history[-1]["epoch"]

    def x(epoch: float) -> float:
        spread = last - first
        return LEFT + (WIDTH - LEFT - RIGHT) * ((epoch - first) / spread if spread else 0.5)

    parts = [*_frame(most), *_ticks(int(first), int(last), x, "epoch")]
    parts.append(
        f'<line class="best" x1="{x(best):.1f}" x2="{x(best):.1f}" y1="{TOP}" '
        f'y2="{HEIGHT - BOTTOM}"/>'
    )
    for key, style in series:
        points = [
            (x(row["epoch"]), _y(row[key] / most)) for row in history if math.isfinite(row[key])
        ]
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in points)
        parts.append(f'<polyline class="line {style}" points="{path}"/>')
        if len(points) == 1:
            parts.append(f'<circle class="dot {style}" cx="{points[0][0]}" cy="{points[0][1]}" '
                         'r="4"/>')  # fmt: skip
    if len(history) <= MOST_HOVERED:
        parts += _bands(history, [key for key, _ in series], x(first), x(last))
    legend = "".join(
        f'<span class="{style}">{escaped(_named(key))}</span>' for key, style in series
    )
    about = f"{title} by epoch, from {int(first)} to {int(last)}. " + " ".join(
        f"{_named(key)} ends at {history[-1][key]:.3f}." for key, _ in series
    )
    return _figure(title, legend + f'<span class="g">best epoch, {best}</span>', about, parts)


def _figure(title: str, legend: str, about: str, parts: Sequence[str]) -> str:
    return (
        f'<figure><figcaption>{escaped(title)} <span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escaped(about)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _frame(most: float) -> list[str]:
    """Return the grid with its numbers, from 0 to `most`."""
    parts = []
    for quarter in range(5):
        up = _y(quarter / 4)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up:.1f}" y2="{up:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{most * quarter / 4:.3g}'
            "</text>"
        )
    return parts


def _ticks(first: int, last: int, x: Callable[[float], float], name: str) -> list[str]:
    step = max(1, math.ceil((last - first) / 6))
    ticks = [
        f'<text x="{x(epoch):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{epoch}</text>'
        for epoch in range(first, last + 1, step)
    ]
    return [*ticks, _under(name)]


def _under(text: str) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return f'<text x="{middle}" y="{HEIGHT - 2}" text-anchor="middle">{text}</text>'


def _bands(history: Sequence[Row], keys: Sequence[str], left: float, right: float) -> list[str]:
    """Return an invisible strip for each epoch, whose title shows its values."""
    wide = (right - left) / max(1, len(history) - 1) or WIDTH / 2
    return [
        f'<rect class="hover" x="{left + number * wide - wide / 2:.1f}" y="{TOP}" '
        f'width="{wide:.1f}" height="{HEIGHT - TOP - BOTTOM}"><title>epoch {int(row["epoch"])}: '
        f"{', '.join(f'{_named(key)} {row[key]:.3f}' for key in keys)}</title></rect>"
        for number, row in enumerate(history)
    ]


def scatter(
    title: str,
    points: Sequence[tuple[float, float, str, str]],
    steps: Sequence[tuple[float, float]],
    legend: Mapping[str, str],
    about: str,
) -> str:
    """Return a chart of points, and a line of steps through the best ones.

    Parameters
    ----------
    title : str
    points : sequence of (x, y, style, words)
        At least one; the words show on hover. No y is negative.
    steps : sequence of (x, y)
        Each level holds up to the next x.
    legend : mapping
        Style to words; the style of the steps is ``b``.
    about : str
        For screen readers.
    """
    first, last = min(x for x, *_ in points), max(x for x, *_ in points)
    most = max(1e-12, *(y for _, y, *_ in points))
    most = 1.0 if most <= 1 else most

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (
            (x - first) / (last - first) if last > first else 0.5
        )

    parts = [*_frame(most), *_ticks(int(first), int(last), across, "trial")]
    line = ""
    for (x, y), (following, _) in pairwise([*steps, steps[-1]]):
        line += f"{across(x):.1f},{_y(y / most):.1f} {across(following):.1f},{_y(y / most):.1f} "
    parts.append(f'<polyline class="line b" points="{line.strip()}"/>')
    parts += [
        f'<circle class="dot {style}" cx="{across(x):.1f}" cy="{_y(y / most):.1f}" r="3.5">'
        f"<title>{escaped(words)}</title></circle>"
        for x, y, style, words in points
    ]
    words = "".join(
        f'<span class="{style}">{escaped(text)}</span>' for style, text in legend.items()
    )
    return f'<div class="charts">{_figure(title, words, about, parts)}</div>'


def bars(header: Sequence[str], rows: Sequence[Bar], caption: str) -> str:
    """Return a table with a bar, or dots, in each row.

    Parameters
    ----------
    header : sequence of str
        Of the name, the picture and the value.
    rows : sequence of Bar
    caption : str
        For screen readers, which read the values.
    """
    below = any(value < 0 for row in rows for value in row.values)
    most = max([1e-12, *(abs(value) for row in rows for value in row.values)])

    def place(value: float) -> float:
        return 50 * (1 + value / most) if below else 100 * value / (most if rows[0].bar else 1)

    cells = []
    for row in rows:
        marks = []
        for value in row.values:
            start, end = sorted((place(0), place(value)))
            kind = "b" if value < 0 else "a"
            style = f"left:{start:.2f}%;width:{end - start:.2f}%"
            dot = f'<i class="point" style="left:{place(value):.2f}%"></i>'
            marks.append(f'<i class="{kind}" style="{style}"></i>' if row.bar else dot)
        track = f'<div class="track{" below" * below}" aria-hidden="true">{"".join(marks)}</div>'
        cells.append([escaped(row.name), track, row.text])
    return f'<div class="bars">{table(header, cells, caption)}</div>'


def reliability_chart(bins: Reliability, part: str) -> str:
    """Return a chart of the share of right clips against the probability of the prediction.

    Parameters
    ----------
    bins : Reliability
        With at least one clip.
    part : str
    """
    parts, count = _frame(1.0), len(bins.count)
    wide = (WIDTH - LEFT - RIGHT) / count
    for number, clips in enumerate(bins.count.tolist()):
        if not clips:
            continue
        sure, right = float(bins.confidence[number]), float(bins.accuracy[number])
        across = LEFT + number * wide
        parts.append(
            f'<rect class="bar" x="{across + 1:.1f}" y="{_y(right):.1f}" width="{wide - 2:.1f}" '
            f'height="{_y(0) - _y(right):.1f}"/>'
            f'<line class="line b" x1="{across + 1:.1f}" x2="{across + wide - 1:.1f}" '
            f'y1="{_y(sure):.1f}" y2="{_y(sure):.1f}"/>'
            f'<rect class="hover" x="{across:.1f}" y="{TOP}" width="{wide:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"><title>{clips} clips: probability '
            f"{100 * sure:.1f} %, right {100 * right:.1f} %</title></rect>"
        )
    parts += [
        f'<text x="{LEFT + (WIDTH - LEFT - RIGHT) * tick / 4:.1f}" y="{HEIGHT - 16}" '
        f'text-anchor="middle">{25 * tick} %</text>'
        for tick in range(5)
    ]
    parts.append(_under("probability of the predicted class"))
    legend = '<span class="a">share of clips that are right</span>'
    legend += '<span class="b">mean probability</span>'
    total = int(bins.count.sum())
    about = (
        f"Share of right clips by the probability of the prediction, on {total} {part} clips. "
        f"Expected calibration error {100 * bins.error:.1f} %."
    )
    figure = _figure(f"Reliability on {part}, as trained", legend, about, parts)
    return f'<div class="charts">{figure}</div>'
