"""Draw the timeline of a recording: probabilities over time, segments, and annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featstore.format.files import replacing
from pipeline.predict.segments import Segment, Timeline
from pipeline.report.figures import set_text
from pipeline.report.fonts import LONGEST, labels_of
from pipeline.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED = 40


def draw_timeline(
    path: Path,
    title: str,
    timeline: Timeline,
    classes: Sequence[str],
) -> None:
    """Write the timeline of one recording as PNG.

    Parameters
    ----------
    path : Path
    title : str
    timeline : Timeline
        Gaps stay grey.
    classes : sequence of str
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    bounds, segments, annotated = timeline.bounds, timeline.segments, timeline.annotated
    # Of a long path, the end is the name.
    title = title if len(title) <= LONGEST else f"…{title[1 - LONGEST :]}"
    labels = labels_of([*classes, title])
    names, shown = labels.texts[:-1], len(classes)
    rows = 2 if annotated else 1
    figure = Figure(figsize=(12, 1.5 + 0.25 * min(shown, MOST_NAMED) + 0.4 * rows))
    grid = figure.add_gridspec(
        2, 2, height_ratios=[shown, rows], width_ratios=[60, 1], hspace=0.08, wspace=0.02
    )
    heat = figure.add_subplot(grid[0, 0])
    heat.set_facecolor("#bbbbbb")
    image = heat.pcolormesh(
        bounds,
        np.arange(shown + 1),
        np.ma.masked_invalid(timeline.slots.T),
        vmin=0,
        vmax=1,
        cmap="viridis",
    )
    heat.set_yticks(np.arange(min(shown, MOST_NAMED)) + 0.5, names[:MOST_NAMED], fontsize=8)
    heat.invert_yaxis()
    heat.tick_params(labelbottom=False)
    heat.set_title(labels.texts[-1], fontsize=10)
    figure.colorbar(image, cax=figure.add_subplot(grid[0, 1]), label="probability")
    strip = figure.add_subplot(grid[1, 0], sharex=heat)
    colours = mpl.colormaps["tab20"](np.arange(shown) % 20)
    _bars(strip, 0, segments, names, colours)
    if annotated:
        _bars(strip, 1, annotated, names, colours)
    strip.set_yticks(range(rows), ["predicted", "annotated"][:rows], fontsize=8)
    strip.set_ylim(rows - 0.5, -0.5)
    strip.set_xlim(bounds[0], bounds[-1])
    strip.set_xlabel("seconds")
    set_text(figure, labels.families)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", bbox_inches="tight")


def _bars(
    axes: Axes, row: int, segments: Sequence[Segment], names: Sequence[str], colours: Floats
) -> None:
    """Draw segments in a row, with their names where they fit."""
    low, high = axes.get_xlim() if not segments else (0, max(one.end for one in segments))
    for one in segments:
        length = one.end - one.begin
        colour = colours[one.label]
        axes.broken_barh([(one.begin, length)], (row - 0.4, 0.8), facecolors=[colour])
        if length > (high - low) * 0.011 * len(names[one.label]):
            middle = one.begin + length / 2
            axes.text(middle, row, names[one.label], ha="center", va="center", fontsize=7)
