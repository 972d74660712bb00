"""The figures of a run, drawn without a display and without global state.

The colours are from Okabe and Ito ("Color universal design", 2008). They stay distinct under common
colour vision deficiencies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featstore import Store
from featstore.format.files import replacing
from pipeline.metrics.calibration import Reliability, reliability, scaled
from pipeline.metrics.classification import Metrics
from pipeline.report.fonts import labels_of, short, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pipeline.metrics.predictions import Predictions

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
EXAMPLES = 6
MOST_NUMBERED = 40  # with more classes the counts in the confusion matrix are unreadable
MOST_SHOWN = 120  # with more classes, only the MOST_NUMBERED largest are shown
GRID = 50
UNDATED: dict[str, Any] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def draw_figures(
    folder: Path,
    classes: Sequence[str],
    monitor: str,
    history: Sequence[Mapping[str, Any]],
    predictions: Mapping[str, Predictions],
    temperature: float,
    store: Store | None,
    kind: str = "png",
) -> list[Path]:
    """Draw curves, confusion, scores per class and reliability; attention for heads that attend.

    Parameters
    ----------
    folder : Path
        Created if missing.
    classes : sequence of str
    monitor : str
        The val score that chose the best epoch.
    history : sequence of mapping
        One row per epoch.
    predictions : mapping
        Predictions on val and test; without test clips the figures show val.
    temperature : float
        The temperature fitted on val.
    store : Store or None
        For the times of attention; needed where predictions have attention.
    kind : {"png", "svg", "pdf"}

    Returns
    -------
    list of Path
        The files.
    """
    import matplotlib as mpl

    folder.mkdir(exist_ok=True)
    part = "test" if len(predictions["test"].clips) else "val"
    metrics = predictions[part].metrics
    labels = labels_of(classes)
    names = labels.texts
    figures = {
        "curves": curves(history, monitor),
        "confusion": confusion(metrics, names, part),
        "per_class": per_class(metrics, names, part),
        "reliability": reliability_diagram(predictions[part], part, temperature),
    }
    val = predictions["val"]
    if val.attention is not None and store is not None:
        figures["attention"] = attention_over_time(store, names, val, val.attention)
    paths = []
    # The same run gives the same bytes; text in PDF is TrueType, which journals want.
    with mpl.rc_context({"svg.hashsalt": "featstore", "pdf.fonttype": 42}):
        for name, figure in figures.items():
            set_text(figure, labels.families)
            paths.append(folder / f"{name}.{kind}")
            with replacing(paths[-1]) as temporary:
                figure.savefig(temporary, dpi=120, format=kind, metadata=UNDATED[kind])
    return paths


def set_text(figure: Figure, families: Sequence[str]) -> None:
    """Draw all text with these fonts, literally: a dollar sign does not start a formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_fontfamily(families)


def curves(history: Sequence[Mapping[str, Any]], monitor: str) -> Figure:
    """Draw losses and scores by epoch, and mark the best epoch."""
    figure = _figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    monitored = [row[f"val_{monitor}"] for row in history]
    best = int(np.argmin(monitored) if monitor == "loss" else np.argmax(monitored))
    # A mean of recipes has neither if only some of them have mixup.
    trained = [key for key in ("train_target_mass", "train_top1") if key in history[0]]
    lines: list[tuple[Axes, str, str, str]] = [
        (left, "train_loss", BLUE, "train"),
        (left, "val_loss", ORANGE, "val"),
        *((right, key, BLUE, key.replace("_", " ")) for key in trained),
        (right, "val_top1", ORANGE, "val top-1"),
        (right, "val_mean_class_accuracy", GREEN, "val mean class accuracy"),
    ]
    for axes, key, colour, label in lines:
        marker = "o" if len(history) == 1 else ""
        axes.plot(epochs, [row[key] for row in history], color=colour, label=label, marker=marker)
    for axes, title in ((left, "Loss"), (right, "Score")):
        axes.axvline(epochs[best], color=GREY, linestyle=":", label=f"best epoch, {epochs[best]}")
        axes.set(title=title, xlabel="epoch", xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8)
    left.set_ylim(bottom=0)
    right.set_ylim(0, 1.02)
    return figure


def confusion(metrics: Metrics, classes: tuple[str, ...], part: str) -> Figure:
    """Draw the confusion matrix, normalised by row, with counts if they fit."""
    shown = np.sort(most_frequent(metrics.support))
    n, names = len(shown), [classes[i] for i in shown]
    side = min(max(4.0, 0.27 * n + 1.5), 20.0)
    room = _inches(names)
    figure = _figure(side + room + 1, side + room + 0.6)
    axes = figure.subplots()
    support, counts = metrics.support[shown, None], metrics.among(shown)
    shares = np.where(support > 0, counts / np.maximum(support, 1), np.nan)
    axes.set_facecolor("#cccccc")  # visible where a class has no clips
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(n), names, rotation=90)
    axes.set_yticks(range(n), names)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1 if n <= MOST_NUMBERED else 0.3)
    axes.tick_params(which="both", labelsize=min(8, 50 * side / n), length=0)
    grey = "" if (support > 0).all() else "; grey: no clips"
    axes.set(xlabel="predicted", ylabel="true")
    title = f"Confusion on {part} (colour: share of the row{grey}){_left_out(metrics)}"
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.6)
    if n <= MOST_NUMBERED:
        size = 8 if n <= MOST_NUMBERED / 2 else 6
        for i, j in np.argwhere(counts).tolist():
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(
                j, i, f"{counts[i, j]}", ha="center", va="center", fontsize=size, color=colour
            )
    return figure


def per_class(metrics: Metrics, classes: tuple[str, ...], part: str) -> Figure:
    """Draw recall, F1 and clip count of every class, largest class first."""
    order = most_frequent(metrics.support)
    rows, names = np.arange(len(order)), [classes[i] for i in order]
    figure = _figure(5.5 + _inches(names), 1.6 + 0.3 * len(order))
    axes = figure.subplots()
    axes.barh(rows, np.nan_to_num(metrics.recall[order]), color=BLUE, height=0.65, label="recall")
    axes.plot(metrics.f1[order], rows, "D", color=ORANGE, ms=5, clip_on=False, label="F1")
    axes.axvline(metrics.mean_class_accuracy, color=GREY, linestyle=":", label="mean of recall")
    for row, support in enumerate(metrics.support[order].tolist()):
        axes.text(1.03, row, str(support) if support else "none", va="center", fontsize=8)
    axes.text(1.03, -0.9, "clips", va="center", fontsize=8, color=GREY)
    axes.set_yticks(rows, names)
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.set(xlim=(0, 1.02), ylim=(len(order) - 0.4, -0.6))
    axes.set_title(f"Recall and F1 on {part}{_left_out(metrics)}", pad=22)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def most_frequent(support: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the classes to show, sorted by descending clip count.

    Parameters
    ----------
    support : int64 array (C,)
        The number of clips of each class.
    """
    order = np.argsort(-support, kind="stable")
    return order if len(order) <= MOST_SHOWN else order[:MOST_NUMBERED]


def _left_out(metrics: Metrics) -> str:
    """Return a title line that says how many classes are shown; empty if all are."""
    shown, classes = len(most_frequent(metrics.support)), len(metrics.support)
    return f"\nthe {shown} of {classes:,} classes with the most clips" * (shown < classes)


def _inches(names: Sequence[str]) -> float:
    """Return the width of the longest name in inches."""
    return 0.075 * max(map(width, names))


def reliability_diagram(predictions: Predictions, part: str, temperature: float) -> Figure:
    """Draw the accuracy of a part's predictions against their confidence.

    The left column shows the head's probabilities, the right column those at the temperature
    fitted on val. The lower row shows the number of clips by confidence.
    """
    figure = _figure(8.5, 4.6)
    grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3, 1])
    cases = ((1.0, "as trained"), (temperature, f"temperature {temperature:.2f}, of val"))
    for column, (degree, name) in enumerate(cases):
        bins = reliability(scaled(predictions.log_probabilities, degree), predictions.labels)
        _reliability(grid[0, column], grid[1, column], bins)
        grid[0, column].set_title(f"{name}: error {100 * bins.error:.1f} %", fontsize=10)
    grid[0, 0].set_ylabel("share of clips that are right")
    grid[1, 0].set_ylabel("clips")
    legend = grid[0, 0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    figure.suptitle(f"Reliability on {part}", fontsize=11)
    return figure


def _reliability(above: Axes, below: Axes, bins: Reliability) -> None:
    """Draw accuracy by confidence in `above` and the number of clips in `below`."""
    width = 1 / len(bins.count)
    middle = (np.arange(len(bins.count)) + 0.5) * width
    above.bar(middle, np.nan_to_num(bins.accuracy), 0.92 * width, color=BLUE, label="right")
    above.plot(bins.confidence, bins.confidence, "_", color=ORANGE, ms=14, mew=2.5,
               label="as sure as it was")  # fmt: skip
    above.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    above.set(xlim=(0, 1), ylim=(0, 1.02))
    below.bar(middle, bins.count, 0.92 * width, color=GREY)
    below.set_xlabel("probability of the predicted class")


def attention_over_time(
    store: Store,
    classes: tuple[str, ...],
    val: Predictions,
    attention: Sequence[npt.NDArray[np.float32]],
) -> Figure:
    """Draw the mean attention over relative time, and one example clip for some classes.

    Attention is shown as a multiple of uniform attention, so clips of any length are comparable.
    """
    figure = _figure(12, 5.2)
    grid = figure.add_gridspec(2, 5)
    mean = figure.add_subplot(grid[:, :2])
    several = store.row_size[val.clips] > 1  # attention needs at least two steps
    clips = [i for i in np.flatnonzero(several).tolist() if len(attention[i]) > 1]
    positions = np.linspace(0, 1, GRID)
    if clips:
        relative = np.stack([_on_grid(attention[i], positions) for i in clips])
        low, high = np.quantile(relative, [0.1, 0.9], axis=0)
        mean.fill_between(
            positions, low, high, color=BLUE, alpha=0.2, lw=0, label="10 % to 90 % of clips"
        )
        mean.plot(positions, relative.mean(axis=0), color=BLUE, label="mean")
    mean.axhline(1, color=GREY, linestyle=":", label="uniform")
    mean.set(
        title=f"Attention on {len(clips)} val clips",
        xlabel="relative time",
        ylabel="attention / uniform",
    )
    mean.set_xlim(0, 1)
    mean.set_ylim(0, max(2, mean.get_ylim()[1]))
    mean.legend(frameon=False, fontsize=8)
    first_of = {int(val.labels[i]): i for i in reversed(clips)}
    for slot, i in enumerate(_spread([first_of[k] for k in sorted(first_of)], EXAMPLES)):
        axes = figure.add_subplot(grid[slot // 3, 2 + slot % 3])
        truth, guess = classes[val.labels[i]], classes[val.predicted[i]]
        lines = [truth] if truth == guess else [truth, f"taken for {guess}"]
        axes.set_title("\n".join(short(line, 30) for line in lines), fontsize=8)
        _example(axes, store.times(int(val.clips[i])), attention[i])
    return figure


def _example(axes: Axes, times: npt.NDArray[np.float64], weights: npt.NDArray[np.float32]) -> None:
    positions = np.linspace(0, 1, len(weights))  # the clip may have been resampled
    unit = "seconds"
    if np.isnan(times).any():  # a folder of images of unknown rate
        times, unit = np.arange(len(times), dtype=np.float64), "step"
    seconds = np.interp(positions, np.linspace(0, 1, len(times)), times - times[0])
    axes.step(seconds, weights * len(weights), where="mid", color=GREEN)
    axes.axhline(1, color=GREY, linestyle=":")
    axes.set_ylim(0, max(2, axes.get_ylim()[1]))
    axes.set_xlabel(unit, fontsize=8)
    axes.tick_params(labelsize=8)


def _on_grid(
    weights: npt.NDArray[np.float32], positions: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return attention at relative positions, as a multiple of uniform attention."""
    return np.interp(positions, np.linspace(0, 1, len(weights)), weights * len(weights))


def _spread(items: list[int], count: int) -> list[int]:
    """Return up to `count` evenly spaced items."""
    if len(items) <= count:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
