"""The charts of the page as inline SVG, coloured by its style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from pipeline.metrics.calibration import Reliability
from pipeline.metrics.classification import score_name
from pipeline.report.html_text import escaped

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 18, 12, 32
MOST_HOVERED = 200  # with more epochs, the chart has no hover titles

Row = Mapping[str, float]


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

    parts = [*_frame(most), *_epochs(int(first), int(last), x)]
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


def _epochs(first: int, last: int, x: Callable[[float], float]) -> list[str]:
    step = max(1, math.ceil((last - first) / 6))
    ticks = [
        f'<text x="{x(epoch):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{epoch}</text>'
        for epoch in range(first, last + 1, step)
    ]
    return [*ticks, _under("epoch")]


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
