"""The model card of an exported run (Mitchell et al., "Model cards for model reporting", 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featstore.text import count_of
from pipeline.metrics.classification import SCORES
from pipeline.report.markdown import percent, plain, table
from pipeline.runs.files import UNLABELLED, read_metrics

TO_FILL = "**to be filled in**"


def model_card(run: Path, metadata: Mapping[str, Any]) -> str:
    """Return the model card in Markdown.

    Parameters
    ----------
    run : Path
    metadata : mapping
        What is written next to the models; see `pipeline.deploy.export`.
    """
    metrics = read_metrics(run)
    lines = [
        f"# Model card: {plain(metrics['title'])}",
        "",
        f"- Licence of the model: {TO_FILL}",
        f"- Licence of the training data: {TO_FILL}",
        f"- Licence of the backbone's weights: {TO_FILL}",
        f"- Contact: {TO_FILL}",
        f"- Intended use, and use that is not intended: {TO_FILL}",
        "",
        "## Model",
        "",
        *_model(metrics, metadata),
        "",
        "## Data",
        "",
        *_data(metrics),
        "",
        "## Scores",
        "",
        *_scores(metrics),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in _limits(metrics, metadata)),
        "",
    ]
    return "\n".join(lines)


def _model(metrics: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[str]:
    frames = metadata["frames"]
    size = f"{frames['width']} x {frames['height']}"
    rate = "every frame" if metadata["fps"] is None else f"{metadata['fps']:g} frames a second"
    differences = ", ".join(f"{name} {value:.1e}" for name, value in metadata["difference"].items())
    return [
        f"Recipe {plain(metrics['recipe'])} (seed {metrics['seed']}) on {metadata['backbone']}, "
        f"weights {metadata['backbone_weights'][:19]}.",
        "",
        f"- `model.onnx`, `model.pt2`: {frames['frames']} frames of {size} pixels, "
        f"{metadata['pixels']}, uint8, {rate}, a window of {metadata['window_seconds']:g} s; a "
        f"value v means (v - {frames['offset']}) / {frames['span']}. Resizing and normalising are "
        "inside. Out: the probability of each class.",
        f"- `head.onnx`, `head.pt2`: features ({metadata['steps']} steps x "
        f"{metadata['features']}), float32. Out: the same.",
        "- `metadata.json`: classes and everything above, also inside the models.",
        "",
        f"Largest difference of a probability from the run's, on real windows: {differences}.",
    ]


def _data(metrics: Mapping[str, Any]) -> list[str]:
    by_subject = metrics["subjects_known"]
    people = "subjects" if by_subject else "videos (subjects are unknown)"
    subjects = metrics.get("subjects", {})
    clips = {
        "train": metrics["train"]["clips"],
        **{part: metrics[part]["clips"] for part in ("val", "test")},
    }
    rows = [[part, str(count), str(subjects.get(part, "–"))] for part, count in clips.items()]
    split = "No subject is in two parts." if by_subject else "No video is in two parts."
    return [
        *table(["part", "clips", people], rows),
        "",
        f"{split} Test was scored once, with the weights that val chose.",
    ]


def _scores(metrics: Mapping[str, Any]) -> list[str]:
    part = "test" if metrics["test"]["clips"] else "val"
    scores = metrics[part]
    bounds = (metrics.get("intervals") or {}).get(part) or {}
    # With one subject there is no interval over subjects.
    by_subject = bool((bounds.get("top1") or {}).get("subjects"))
    people = "subjects" if metrics["subjects_known"] else "videos"
    over = people if by_subject else "clips of the same people"
    rows = []
    for key, score in SCORES.items():
        interval = (bounds.get(key) or {}).get("subjects" if by_subject else "clips")
        shown = "–" if not interval else " to ".join(map(percent, interval))
        rows.append([score.name, percent(scores[key]), shown])
    trained = metrics["train"]["per_class"]
    classes = [
        [
            one["class"],
            str(count),
            str(one["support"]),
            percent(one["precision"]),
            percent(one["recall"]),
            percent(one["f1"]),
        ]
        for one, count in zip(scores["per_class"], trained, strict=True)
    ]
    return [
        f"On {scores['clips']} {part} clips; 95 % intervals over {over}.",
        "",
        *table(["score", part, "95 % interval"], rows),
        "",
        *table(["class", "training clips", f"{part} clips", "precision", "recall", "F1"], classes),
    ]


def _limits(metrics: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[str]:
    limits = [plain(concern) for concern in metrics.get("concerns", [])]
    if metrics["untrained"]:
        limits.append("The backbone's weights are random: it was not trained.")
    if not metrics["subjects_known"]:
        limits.append("Subjects are unknown, so one person may be in training and in test.")
    if (subjects := metrics.get("subjects", {}).get("test", 0)) and subjects < 5:
        people = "subject" if metrics["subjects_known"] else "video"
        limits.append(f"Test has {count_of(subjects, people)}, too few to speak of others.")
    if missing := metrics["train"]["classes_without_clips"]:
        limits.append(f"Classes without training clips: {plain(', '.join(missing))}.")
    if whose := UNLABELLED.get(metadata["standardise"]):
        limits.append(f"Features are standardised by {whose}.")
    limits.append(
        "The model knows only the classes above: every window gets one of them, also where nothing "
        "of the kind happens."
    )
    limits.append("Scores hold for cameras, places and people like those of the data.")
    return limits
