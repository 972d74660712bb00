"""Stage two: train a temporal head on the features of a store. Read it from top to bottom."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from featstore import InputError, Store
from pipeline.metrics.predictions import Predictions
from pipeline.report.baselines import baseline_log, no_better
from pipeline.report.fonts import labels_of
from pipeline.runs.files import compare_with
from pipeline.runs.folder import CHECKPOINT, new_run, unfinished_of
from pipeline.system.distributed import processes
from pipeline.train.baselines import baselines_of
from pipeline.train.data.checks import checked_parts, concerns, other_store
from pipeline.train.data.standardise import write_training
from pipeline.train.epochs import Fitted, fit
from pipeline.train.learner import Learner, device_of, make_head, seeded
from pipeline.train.log import conclusion, introduction, why_stopped
from pipeline.train.predict import refuse_non_finite
from pipeline.train.recipes.load import Recipe
from pipeline.train.results import clips_and_labels, configuration, write_run
from pipeline.types import Clips, Log


def train(
    store: Store,
    recipe: Recipe,
    *,
    out: Path,
    seed: int = 0,
    device: str = "auto",
    baseline: Path | None = None,
    log: Log = print,
) -> Path:
    """Train a head and write a run folder.

    Within `pipeline.system.distributed.process_group` all processes call this function and train
    together; only the first process logs and writes.

    Parameters
    ----------
    store : Store
    recipe : Recipe
    out : Path
        The run folder; must not exist, or be empty. An interrupted training of the same
        configuration resumes from its last epoch, and ends with the same weights.
    seed : int
        On the CPU the same store, recipe, seed, machine and number of threads give the same
        weights, bit for bit. On a GPU they may differ, since cuDNN's recurrent kernels are not
        deterministic by default.
    device : str
        ``auto`` uses a GPU if there is one; other values are torch device names.
    baseline : Path, optional
        Another run that the report compares with.
    log : callable
        Takes one line at a time.

    Returns
    -------
    Path
        `out`; `pipeline.runs.files.read_metrics` reads its scores.

    Raises
    ------
    InputError
        If the recipe does not fit the store, `out` is taken or holds an interrupted training of
        another configuration, or the loss or features of val or test are not finite.
    BusyError
        If another process is training to `out`.
    """
    started, group = time.perf_counter(), processes()
    log = log if group.first else _silent
    parts = checked_parts(store, recipe)
    where = device_of(recipe, device)
    compared = compare_with(baseline, clips_and_labels(store, parts)) if baseline else None
    config = configuration(store, recipe, parts, seed=seed, device=where)
    run = new_run(out, config) if group.first else nullcontext(unfinished_of(out) / "run")
    with run as folder, seeded(seed, where):
        head = make_head(store, recipe).to(where)
        size = sum(tensor.numel() for tensor in head.parameters())
        worries = concerns(store, parts, recipe) if group.first else []
        lines = [*introduction(store, recipe, parts, size=size), *worries]
        lines += labels_of(store.classes).notes
        for line in lines + other_store(compared, store):
            log(line)
        learner = Learner(head, store, recipe, parts["train"], seed=seed, val_clips=parts["val"])
        checkpoint = folder.with_name(CHECKPOINT)
        fitted = fit(learner, parts["val"], log=log, checkpoint=checkpoint)
        # The test part is used once, with the weights that val chose.
        test = _predict_test(learner, parts["test"], checkpoint)
        predictions = {"val": fitted.val, "test": test}
        baseline_scores = baselines_of(learner.feed, parts, recipe) if group.first else {}
        training = training_of(fitted, recipe, time.perf_counter() - started)
        part, scored = ("test", test) if len(test.clips) else ("val", fitted.val)
        worse = no_better(scored.metrics.scores, baseline_scores, part)
        for line in [*baseline_log(baseline_scores), *worse, conclusion(training, test.metrics)]:
            log(line)
        setup = {"seed": seed, "device": where.type, "baseline": compared, "concerns": worries}
        training = setup | training | {"baselines": baseline_scores}
        weights, standardise = head.state_dict(), learner.standardise
        if group.first and standardise is not None:
            write_training(folder, standardise.training)
        if group.first:
            write_run(
                folder, config, store, recipe, parts, training, predictions, fitted.history, weights
            )
    group.meet()  # the run is finished for all processes
    return out


def _predict_test(learner: Learner, clips: Clips, checkpoint: Path) -> Predictions:
    """Return predictions on the test part; delete the checkpoint if they are not finite."""
    predictions = learner.predict(clips)
    try:
        refuse_non_finite(predictions, learner.store)
    except InputError:  # resuming would hit the same error
        checkpoint.unlink(missing_ok=True)
        raise
    return predictions


def training_of(fitted: Fitted, recipe: Recipe, seconds: float) -> dict[str, Any]:
    """Return a summary of a training; `seconds` is the time spent in this process."""
    epochs = len(fitted.history)
    spent = [row["seconds"] for row in fitted.history]
    waited = sum(row["seconds"] * row["data_share"] for row in fitted.history)
    return {
        "seconds": round(seconds + sum(spent[: fitted.resumed]), 3),
        "best_epoch": fitted.best_epoch,
        "epochs": epochs,
        "stopped": fitted.stopped,
        "why_stopped": why_stopped(fitted.stopped, epochs - fitted.best_epoch, recipe.train),
        "data_share": waited / sum(spent),
    }


def _silent(line: str) -> None:
    pass
