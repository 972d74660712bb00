"""Draw the figures of a finished run again, for papers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from featstore import InputError, Store
from featstore.errors import FeatstoreError
from pipeline.metrics.predictions import Predictions
from pipeline.report.figures import draw_figures
from pipeline.runs.files import PARTS, read_config, read_history, read_metrics, read_predictions
from pipeline.train.evaluate import classify, own_store
from pipeline.types import Log


def redraw(run: Path, kind: str, *, log: Log) -> list[Path]:
    """Draw a run's figures into its folder ``figures``, and return the files.

    Attention is computed again, so it needs the run's store; the others need the run alone.

    Parameters
    ----------
    run : Path
    kind : {"png", "svg", "pdf"}
    log : callable
        Told why there is no figure of attention.

    Raises
    ------
    InputError
        If a file of the run is missing or damaged.
    """
    metrics = read_metrics(run)
    classes = read_config(run)["store"]["classes"]
    predictions = _predictions(run, classes)
    store = None
    if metrics["attention_entropy"] is not None:
        try:
            store = own_store(run)
            predictions["val"] = _attended(run, store, predictions["val"])
        except FeatstoreError as error:
            store = None
            log(f"no figure of attention: {error}")
    temperature = metrics.get("calibration", {}).get("temperature") or 1.0
    return draw_figures(
        run / "figures",
        classes,
        metrics["monitor"],
        [{**row, "epoch": int(row["epoch"])} for row in read_history(run)],
        predictions,
        temperature,
        store,
        kind,
    )


def _attended(run: Path, store: Store, val: Predictions) -> Predictions:
    """Return predictions on val with the attention that the run's head pays."""
    number = {clip: position for position, clip in enumerate(store.clip_ids.tolist())}
    ids = [row["clip"] for row in read_predictions(run) if row["part"] == "val"]
    if gone := [clip for clip in ids if clip not in number]:
        raise InputError(f"{store.path} no longer has clip {gone[0]}")
    clips = np.array([number[clip] for clip in ids], np.int64)
    return replace(val, clips=clips, attention=classify(run, store, clips, device="cpu").attention)


def _predictions(run: Path, classes: list[str]) -> dict[str, Predictions]:
    path = run / "predictions.safetensors"
    number = {name: position for position, name in enumerate(classes)}
    rows = read_predictions(run)
    try:
        logs = load_file(path)
        found = {}
        for part in PARTS:
            labels = np.array([number[row["label"]] for row in rows if row["part"] == part], int)
            logits = logs[part].astype(np.float64).reshape(len(labels), len(classes))
            clips = np.arange(len(labels))
            found[part] = Predictions(
                clips=clips, labels=labels, log_probabilities=logits, attention=None
            )
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); train the run again") from None
    return found
