"""Runs that are no more than what a comparison reads of them."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.runs.files import write_csv, write_json

CLASSES = ("sit", "eat", "drink")

SCORES = dict.fromkeys(("top1", "mean_class_accuracy", "macro_f1", "weighted_f1"), 0.5)
PART = {**SCORES, "classes_with_support": 0, "clips": 0, "per_class": [], "confusion": []}
METRICS: dict[str, Any] = {
    **dict.fromkeys(("title", "recipe", "stopped", "why_stopped"), ""),
    **dict.fromkeys(("seed", "best_epoch", "epochs", "one_step_val_clips"), 0),
    **dict.fromkeys(("untrained", "mixup"), False),
    **{"seconds": 0.0, "attention_entropy": None, "baseline": None, "val": PART, "test": PART},
    "failed_clips": dict.fromkeys(("train", "val", "test"), 0),
    "train": {"clips": 0, "per_class": [], "classes_without_clips": []},
}


def write_run(
    folder: Path,
    right: np.ndarray,
    *,
    subjects: int = 10,
    store: str = "f00d",
    first: int = 0,
    known: bool = True,
    said: dict[str, Any] | None = None,
    **columns: Any,
) -> Path:
    """A run over clips whose class and subject follow from their number."""
    folder.mkdir(parents=True)
    metrics = METRICS | {"store_key": store * 16, "subjects_known": known} | (said or {})
    write_json(folder / "metrics.json", metrics)
    rows = []
    for i, hit in enumerate(right.tolist(), start=first):
        label = i % 3
        guess = label if hit else (label + 1) % 3
        rows.append(
            {"clip": f"clip{i:04d}", "part": "test", "label": CLASSES[label]}
            | {"prediction": CLASSES[guess], "probability": 0.5}
            | ({"subject": f"vp{i * subjects // len(right)}"} if subjects else {})
            | columns
        )
    write_csv(folder / "predictions.csv", rows[::-1])  # whatever their order
    return folder


def rights(n: int = 600, *, share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < share
