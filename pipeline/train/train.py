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
    """Train a head and leave a run folder.

    Within `pipeline.system.distributed.process_group` all processes call this alike and train
    together; the first one says and writes what there is to say and write.

    Parameters
    ----------
    store : Store
    recipe : Recipe
    out : Path
        The run folder; must not exist, or be empty. Where a training of the same configuration
        was cut off, this one goes on from its last epoch, to the weights it would have had.
    seed : int
        On the CPU the same store, recipe, seed, machine and number of threads give the same
        weights, bit for bit. On a GPU they need not: cuDNN's recurrent kernels are not
        deterministic by default, and nothing is done here to make them so.
    device : str
        ``auto`` takes a GPU where there is one; else a name that torch knows.
    baseline : Path, optional
        Another run, for the report to compare with.
    log : callable
        Takes one line at a time.

    Returns
    -------
    Path
        `out`; `pipeline.runs.files.read_metrics` reads its scores.

    Raises
    ------
    InputError
        If the recipe does not fit the store, `out` is taken, a training of another configuration
        was cut off there, or the loss or features of val or test are not finite.
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
        said = [*introduction(store, recipe, parts, size=size), *worries]
        said += labels_of(store.classes).notes
        for line in said + other_store(compared, store):
            log(line)
        learner = Learner(head, store, recipe, parts["train"], seed=seed, val_clips=parts["val"])
        checkpoint = folder.with_name(CHECKPOINT)
        fitted = fit(learner, parts["val"], log=log, checkpoint=checkpoint)
        # The one look at the test part, by the weights that val chose.
        test = _predict_test(learner, parts["test"], checkpoint)
        predictions = {"val": fitted.val, "test": test}
        plain = baselines_of(learner.feed, parts, recipe) if group.first else {}
        training = training_of(fitted, recipe, time.perf_counter() - started)
        part, scored = ("test", test) if len(test.clips) else ("val", fitted.val)
        worse = no_better(scored.metrics.scores, plain, part)
        for line in [*baseline_log(plain), *worse, conclusion(training, test.metrics)]:
            log(line)
        given = {"seed": seed, "device": where.type, "baseline": compared, "concerns": worries}
        training = given | training | {"baselines": plain}
        weights, standardise = head.state_dict(), learner.standardise
        if group.first and standardise is not None:
            write_training(folder, standardise.training)
        if group.first:
            write_run(
                folder, config, store, recipe, parts, training, predictions, fitted.history, weights
            )
    group.meet()  # the run is whole for all of them
    return out


def _predict_test(learner: Learner, clips: Clips, checkpoint: Path) -> Predictions:
    """Classify the test part; where that cannot be scored, leave nothing to go on from."""
    found = learner.predict(clips)
    try:
        refuse_non_finite(found, learner.store)
    except InputError:  # going on would only lead here again
        checkpoint.unlink(missing_ok=True)
        raise
    return found


def training_of(fitted: Fitted, recipe: Recipe, seconds: float) -> dict[str, Any]:
    """Sum up how a training went, of which this process took so many seconds."""
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
