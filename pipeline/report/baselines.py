"""What `pipeline.train.baselines` found, as logs and reports say it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.report.markdown import SCORE_NAMES, percent, table
from pipeline.runs.files import PARTS

SHOWN = ("top1", "mean_class_accuracy")


def _named(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the scores of every baseline by its name; nothing for a run without them."""
    if not found or "skipped" in found:
        return {}
    near = found["nearest_neighbours"]
    neighbours = "nearest neighbour" if near["k"] == 1 else f"{near['k']} nearest neighbours"
    return {"nearest class mean": found["nearest_class_mean"], neighbours: near}


def baseline_log(found: Mapping[str, Any]) -> list[str]:
    """Say in a line what needs no training; nothing where nothing was looked for.

    Parameters
    ----------
    found : mapping
        As `pipeline.train.baselines.baselines` gives it.
    """
    if "skipped" in found:
        return [found["skipped"]]
    named = _named(found)
    if not named:
        return []
    part = "val" if math.isnan(found["nearest_class_mean"]["test"]["top1"]) else "test"
    texts = [
        f"{name} top1 {own[part]['top1']:.3f}, mean class accuracy "
        f"{own[part]['mean_class_accuracy']:.3f}"
        for name, own in named.items()
    ]
    return [f"without training, on {part}: {'; '.join(texts)}"]


def baseline_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Tabulate what needs no training beside the trained head.

    Parameters
    ----------
    metrics : mapping
        As `pipeline.runs.files.read_metrics` gives them; runs of before there were baselines have
        none.
    """
    found = metrics.get("baselines") or {}
    if "skipped" in found:
        return ["", found["skipped"]]
    named = _named(found)
    if not named:
        return []
    columns = [(part, key) for part in PARTS if metrics[part]["clips"] for key in SHOWN]
    rows = [
        [name, *(percent(own[part][key]) for part, key in columns)]
        for name, own in {"trained head": metrics, **named}.items()
    ]
    header = ["", *(f"{part} {SCORE_NAMES[key]}" for part, key in columns)]
    about = (
        "Beside it what needs no training, on the mean over time of the same features; how many "
        "neighbours vote was chosen on val:"
    )
    return ["", about, "", *table(header, rows)]


def no_better(
    scores: Mapping[str, float | None], baselines: Mapping[str, Any], part: str
) -> list[str]:
    """Say by which scores the trained head is no better than the best baseline, if by any.

    Parameters
    ----------
    scores : mapping
        Of the trained head on a part.
    baselines : mapping
        As `pipeline.train.baselines.baselines` gives them, or none.
    part : {"val", "test"}
        One with clips.
    """
    named, worse = _named(baselines), []
    for key in SHOWN if named else ():
        best = max(named, key=lambda name: named[name][part][key])
        ours, theirs = scores[key], named[best][part][key]
        if ours is not None and ours <= theirs:
            worse.append(
                f"its {SCORE_NAMES[key]} on {part} is {percent(ours)}, and {percent(theirs)} with "
                f"the {best}"
            )
    if not worse:
        return []
    return [f"The trained head is no better than without training: {'; '.join(worse)}."]
