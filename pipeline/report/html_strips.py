"""Strips of a clip's frames on the page, with attention over time above them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from featstore.text import count_of, listed
from pipeline.report.html_text import escaped
from pipeline.report.markdown import percent

MISTAKES = 12  # strips of mistakes
MOST_CLASSES = 60  # strips of one clip each
HIGH = 30  # of the attention, in units of its picture
UNASKED = (
    "<p>No frames: training opens no video. <code>featstore report RUN</code> adds them where the "
    "videos still are.</p>"
)

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Frames of a clip side by side, and attention over the same time.

    Attributes
    ----------
    jpeg : bytes
    width, height : int
        Of the picture, in pixels.
    frames : int
    missing : int
        Frames that did not decode, which are grey.
    begin, end : float
        Times of the first and the last frame, in seconds of the video; NaN if unknown.
    attention : sequence of float
        Of evenly spaced parts of the clip, as multiples of uniform attention; empty for heads
        that do not attend.
    """

    jpeg: bytes
    width: int
    height: int
    frames: int
    missing: int
    begin: float
    end: float
    attention: Sequence[float]


# Takes ids of clips; returns the strip of each, or the reason why there is none.
Strips = Callable[[Sequence[str]], Mapping[str, Strip | str]]


def typical(rows: Sequence[Row], classes: Sequence[str]) -> list[Row]:
    """Return a clip of each class: of its clips, the one with the median probability.

    Parameters
    ----------
    rows : sequence of mapping
        The part's rows of ``predictions.csv``.
    classes : sequence of str
        Without the classes that have no clips; at most `MOST_CLASSES` of the largest are kept.
    """
    of_class: dict[str, list[Row]] = {name: [] for name in classes}
    for row in rows:
        of_class[row["label"]].append(row)
    largest = sorted(classes, key=lambda name: -len(of_class[name]))[:MOST_CLASSES]
    kept = [of_class[name] for name in classes if name in set(largest) and of_class[name]]
    return [
        sorted(clips, key=lambda row: float(row["probability"]))[len(clips) // 2] for clips in kept
    ]


def strips_of(rows: Sequence[Row], drawn: Mapping[str, Strip | str] | None) -> str:
    """Return the strips of clips as figures, and a sentence for those without frames.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of ``predictions.csv``.
    drawn : mapping or None
        Strips, or reasons, by clip. None where no video was to be opened.
    """
    if drawn is None:
        return UNASKED if rows else ""
    figures, without = [], dict[str, list[str]]()
    for row in rows:
        strip = drawn[row["clip"]]
        if isinstance(strip, str):
            without.setdefault(strip, []).append(row["clip"])
        else:
            figures.append(_figure(row, strip))
    lines = [
        f"<p>No frames of {count_of(len(clips), 'clip')} ({escaped(listed(clips))}): "
        f"{escaped(reason)}.</p>"
        for reason, clips in without.items()
    ]
    return f'<div class="strips">{"".join(figures)}</div>' * bool(figures) + "".join(lines)


def _figure(row: Row, strip: Strip) -> str:
    label, guess = escaped(row["label"]), escaped(row["prediction"])
    sure = percent(float(row["probability"]))
    said = "recognised" if label == guess else f"taken for <strong>{guess}</strong>"
    facts = [row["clip"], *([f"subject {row['subject']}"] if row.get("subject") else [])]
    when = f"{strip.begin:.2f} to {strip.end:.2f} s"
    if not math.isnan(strip.begin):
        facts.append(f"{when} of the video")
    if strip.missing:
        facts.append(f"{count_of(strip.missing, 'frame')} did not decode")
    if strip.attention:
        facts.append(f"attention up to {max(strip.attention):.1f} times its mean")
    alt = f"{count_of(strip.frames, 'frame')} of the clip, in order of time"
    source = f"data:image/jpeg;base64,{base64.b64encode(strip.jpeg).decode()}"
    return (
        f'<figure class="strip" data-clip="{escaped(row["clip"])}"><figcaption>'
        f"<strong>{label}</strong>, {said}, {sure}<br><span>{escaped(', '.join(facts))}</span>"
        f'</figcaption><div class="film" style="--n:{strip.frames}" role="region" tabindex="0" '
        f'aria-label="{alt}">'
        f"{_attention(strip.attention)}"
        f'<img src="{source}" width="{strip.width}" height="{strip.height}" alt="{alt}">'
        "</div></figure>\n"
    )


def _attention(weights: Sequence[float]) -> str:
    """Return attention as an area over the width of the frames; empty without weights."""
    if not weights:
        return ""
    count, most = len(weights), max(2.0, *weights)
    path = [f"M0 {HIGH}"]
    for number, weight in enumerate(weights):
        up = HIGH * (1 - weight / most)
        left, right = 100 * number / count, 100 * (number + 1) / count
        path.append(f"L{left:.4g} {up:.3g}L{right:.4g} {up:.3g}")
    peak = 100 * (max(range(count), key=weights.__getitem__) + 0.5) / count
    about = f"attention over time, highest {peak:.0f} % into the clip; the dotted line is its mean"
    uniform = f"{HIGH * (1 - 1 / most):.3g}"
    return (
        f'<svg class="attention" viewBox="0 0 100 {HIGH}" preserveAspectRatio="none" role="img" '
        f'aria-label="{about}"><path d="{"".join(path)}L100 {HIGH}Z"/>'
        f'<line class="best" x1="0" x2="100" y1="{uniform}" y2="{uniform}"/></svg>'
    )
