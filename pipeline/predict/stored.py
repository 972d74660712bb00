"""Predict the clips of a store, with or without labels; no video is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featstore.format.container import suffix_of
from featstore.reading.store import Store
from featstore.text import count_of
from pipeline.metrics.predictions import Predictions
from pipeline.predict.outputs import Row, write_table
from pipeline.train.data.stores import missing_clips, open_stores
from pipeline.train.evaluate import classify
from pipeline.types import Log

COLUMNS = ("clip", "video", "start_frame", "end_frame", "part", "label", "prediction")


def is_store(path: Path) -> bool:
    """Tell whether a path is named like a store."""
    return suffix_of(path) is not None


def predict_store(
    run: Path, paths: Sequence[Path], out: Path, *, form: str, device: str, log: Log
) -> dict[str, Any]:
    """Write a table ``clips`` with the predicted class of every usable clip of a store.

    Parameters
    ----------
    run : Path
    paths : sequence of Path
        As many stores as the run was trained on, in that order.
    out : Path
    form : {"csv", "jsonl", "parquet"}
    device : str
    log : callable

    Returns
    -------
    dict
        ``out`` and the number of ``clips``.

    Raises
    ------
    InputError
        If the store has other features or classes than the run was trained on.
    """
    store = open_stores(paths, allow_missing=True, check=True)
    log(f"store  {store.path} ({store.title})")
    for line in missing_clips(store):
        log(line)
    predictions = classify(run, store, store.usable, device=device)
    if failed := len(store) - len(store.usable):
        log(f"{count_of(failed, 'clip')} FAILED when the store was built: left out")
    columns = [*COLUMNS, "probability", *(f"p:{name}" for name in store.classes)]
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "clips.csv", columns, _rows(store, predictions), form)
    return {"out": out, "clips": len(store.usable)}


def _rows(store: Store, predictions: Predictions) -> Iterator[Row]:
    labels = store.label_names
    for clip, logs in zip(predictions.clips.tolist(), predictions.log_probabilities, strict=True):
        best = int(logs.argmax())
        probabilities = np.exp(logs).tolist()
        yield {
            "clip": str(store.clip_ids[clip]),
            "video": str(store.videos[clip]),
            "start_frame": int(store.start[clip]),
            "end_frame": int(store.stop[clip]),
            "part": str(store.splits[clip]),
            "label": labels[clip],
            "prediction": store.classes[best],
            "probability": probabilities[best],
            **{f"p:{name}": p for name, p in zip(store.classes, probabilities, strict=True)},
        }
