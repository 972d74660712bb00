"""Log lines and report tables for the results of `pipeline.train.baselines`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.metrics.classification import MAIN_SCORES, score_name
from pipeline.report.markdown import percent, table
from pipeline.runs.files import PARTS


def _named(baselines: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the scores of every baseline by name; empty for a run without baselines."""
    if not baselines or "skipped" in baselines:
        return {}
    near = baselines["nearest_neighbours"]
    neighbours = "nearest neighbour" if near["k"] == 1 else f"{near['k']} nearest neighbours"
    return {"nearest class mean": baselines["nearest_class_mean"], neighbours: near}


def baseline_log(results: Mapping[str, Any]) -> list[str]:
    """Return one log line with the baselines' scores; empty for a run without baselines.

    Parameters
    ----------
    results : mapping
        The result of `pipeline.train.baselines.baselines`.
    """
    if "skipped" in results:
        return [results["skipped"]]
    scores = _named(results)
    if not scores:
        return []
    part = "val" if math.isnan(results["nearest_class_mean"]["test"]["top1"]) else "test"
    texts = [
        f"{name} top1 {parts[part]['top1']:.3f}, mean class accuracy "
        f"{parts[part]['mean_class_accuracy']:.3f}"
        for name, parts in scores.items()
    ]
    return [f"without training, on {part}: {'; '.join(texts)}"]


def baseline_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return a table of the trained head and the training-free baselines.

    Parameters
    ----------
    metrics : mapping
        The result of `pipeline.runs.files.read_metrics`; older runs have no baselines.
    """
    baselines = metrics.get("baselines") or {}
    if "skipped" in baselines:
        return ["", baselines["skipped"]]
    scores = _named(baselines)
    if not scores:
        return []
    columns = [(part, key) for part in PARTS if metrics[part]["clips"] for key in MAIN_SCORES]
    rows = [
        [name, *(percent(parts[part][key]) for part, key in columns)]
        for name, parts in {"trained head": metrics, **scores}.items()
    ]
    header = ["", *(f"{part} {score_name(key)}" for part, key in columns)]
    about = "Training-free baselines on the time-averaged features (k chosen on val):"
    return ["", about, "", *table(header, rows)]


def no_better(
    scores: Mapping[str, float | None], baselines: Mapping[str, Any], part: str
) -> list[str]:
    """Return a sentence on the scores where the trained head does not beat the best baseline.

    The list is empty if the head is better by every score.

    Parameters
    ----------
    scores : mapping
        Scores of the trained head on `part`.
    baselines : mapping
        The result of `pipeline.train.baselines.baselines`; may be empty.
    part : {"val", "test"}
        A part with clips.
    """
    by_baseline, worse = _named(baselines), []
    for key in MAIN_SCORES if by_baseline else ():
        best = max(by_baseline, key=lambda name: by_baseline[name][part][key])
        ours, theirs = scores[key], by_baseline[best][part][key]
        if ours is not None and ours <= theirs:
            worse.append(
                f"its {score_name(key)} on {part} is {percent(ours)}, and {percent(theirs)} with "
                f"the {best}"
            )
    if not worse:
        return []
    return [f"The trained head does not beat the training-free baselines: {'; '.join(worse)}."]
