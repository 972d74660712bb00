"""Stage two: train a temporal head on the features of a store. Read it from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from featstore import InputError, Store
from featstore.text import listed
from pipeline.metrics.predictions import Predictions
from pipeline.report.baselines import baseline_log, no_better
from pipeline.report.fonts import labels_of
from pipeline.runs.files import compare_with
from pipeline.runs.folder import CHECKPOINT, new_run, unfinished_of
from pipeline.system.distributed import processes
from pipeline.train.baselines import baselines_of
from pipeline.train.choose import choose
from pipeline.train.data.checks import Parts, checked_parts, concerns, other_store
from pipeline.train.data.standardise import write_training
from pipeline.train.ensemble import fit_heads, head_checkpoints
from pipeline.train.epochs import Fitted, fit
from pipeline.train.folds import learnt_clips
from pipeline.train.learner import Learner, device_of, make_heads, reproducible
from pipeline.train.log import conclusion, introduction, why_stopped
from pipeline.train.predict import refuse_non_finite
from pipeline.train.recipes.load import Recipe
from pipeline.train.recipes.portfolio import Portfolio
from pipeline.train.results import clips_and_labels, configuration, write_run
from pipeline.train.tracking import Tracking, check_installed, tracking
from pipeline.types import Clips, Log


def train(
    store: Store,
    recipe: Recipe | Portfolio,
    *,
    out: Path,
    seed: int = 0,
    device: str = "auto",
    baseline: Path | None = None,
    trackers: Sequence[str] = (),
    log: Log = print,
    workers: int | None = 1,
) -> Path:
    """Train a head and write a run folder.

    Within `pipeline.system.distributed.process_group` all processes call this function and train
    together; only the first process logs and writes.

    Parameters
    ----------
    store : Store
    recipe : Recipe or Portfolio
        Of a portfolio, one recipe is chosen without test, see `pipeline.train.choose`.
    out : Path
        The run folder; must not exist, or be empty. An interrupted training of the same
        configuration resumes from its last epoch, and ends with the same weights.
    seed : int
        On the CPU the same store, recipe, seed and machine give the same weights, bit for bit. On a
        GPU they may differ, since cuDNN's recurrent kernels are not deterministic by default.
    device : str
        ``auto`` uses a GPU if there is one; other values are torch device names.
    baseline : Path, optional
        Another run that the report compares with.
    trackers : sequence of str
        Of `pipeline.train.tracking.TRACKERS`: who gets the scores of every epoch.
    log : callable
        Takes one line at a time.
    workers : int, optional
        Processes that train the recipes of a portfolio, with the same results; None chooses. With
        several, the calling program needs ``if __name__ == "__main__":``.

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
    check_installed(trackers)
    log = log if group.first else _silent
    first = recipe.recipes[0] if isinstance(recipe, Portfolio) else recipe
    parts = checked_parts(store, first)
    where = device_of(first, device)
    compared = compare_with(baseline, clips_and_labels(store, parts)) if baseline else None
    config = configuration(store, recipe, parts, seed=seed, device=where)
    run = new_run(out, config) if group.first else nullcontext(unfinished_of(out) / "run")
    with run as folder:
        chosen = None
        if isinstance(recipe, Portfolio):
            unfinished = folder.parent
            recipe, chosen = choose(
                store,
                recipe,
                parts,
                seed=seed,
                device=where,
                unfinished=unfinished,
                log=log,
                workers=workers,
            )
            parts = checked_parts(store, recipe)
            config = configuration(store, recipe, parts, seed=seed, device=where) | {
                "portfolio": config["portfolio"]
            }
            started = time.perf_counter()
        facts = {"seed": seed, "device": where.type, "baseline": compared, "portfolio": chosen}
        names = trackers if group.first else ()
        with (
            tracking(names, folder, config, log, name=out.name) as tracked,
            reproducible(seed, where) as threads,
        ):
            _train(
                store, recipe, parts, folder, config, facts, started, where, threads, tracked, log
            )
    group.meet()  # the run is finished for all processes
    return out


def _train(
    store: Store,
    recipe: Recipe,
    parts: Parts,
    folder: Path,
    config: dict[str, Any],
    facts: dict[str, Any],
    started: float,
    where: torch.device,
    threads: int,
    tracked: Tracking,
    log: Log,
) -> None:
    """Train one recipe and write its run."""
    group, members, folds = processes(), len(recipe.members), recipe.train.folds
    head = make_heads(store, recipe).to(where)
    size = sum(tensor.numel() for tensor in head.parameters())
    worries = concerns(store, parts, recipe) if group.first else []
    lines = [*introduction(store, recipe, parts, size=size), *worries]
    lines += labels_of(store.classes).notes
    for line in lines + other_store(facts["baseline"], store):
        log(line)
    if members * folds > 1:
        checkpoints = head_checkpoints(folder.parent, recipe)
        learner, fitted, best_epochs = fit_heads(
            store,
            recipe,
            parts,
            checkpoints,
            seed=facts["seed"],
            device=where,
            threads=threads,
            log=log,
            after_epoch=tracked.epoch,
        )
        head = learner.head
    else:
        learner = Learner(
            head,
            store,
            recipe,
            parts["train"],
            seed=facts["seed"],
            val_clips=parts["val"],
            threads=threads,
        )
        checkpoints = [folder.with_name(CHECKPOINT)]
        fitted = fit(
            learner, parts["val"], log=log, checkpoint=checkpoints[0], after_epoch=tracked.epoch
        )
    # The one look at the test part, by the weights that val chose.
    test = _predict_test(learner, parts["test"], checkpoints)
    predictions = {"val": fitted.val, "test": test}
    tracked.scores("test", test.metrics.scores if len(test.clips) else {}, fitted.best_epoch)
    # A head that needs no training is a baseline itself.
    learnt = learnt_clips(parts, recipe)
    plain = baselines_of(learner.feed, parts, recipe) if group.first and head.learns else {}
    training = training_of(fitted, recipe, time.perf_counter() - started)
    if not head.learns:
        training["why_stopped"] = "this recipe needs one pass over the training clips"
    elif members * folds > 1:
        best = listed([str(epoch) for epoch in best_epochs])
        training["why_stopped"] = f"all {members * folds} heads had ended (best epochs {best})"
    part, scored = ("test", test) if len(test.clips) else ("val", fitted.val)
    worse = no_better(scored.metrics.scores, plain, part)
    for line in [*baseline_log(plain), *worse, conclusion(training, test.metrics)]:
        log(line)
    training = facts | training | {"concerns": worries, "baselines": plain}
    weights, standardise = head.state_dict(), learner.standardise
    if group.first and standardise is not None:
        write_training(folder, standardise.training)
    if group.first:
        parts = parts | {"train": learnt}
        write_run(
            folder, config, store, recipe, parts, training, predictions, fitted.history, weights
        )


def _predict_test(learner: Learner, clips: Clips, checkpoints: Sequence[Path]) -> Predictions:
    """Return predictions on the test part; delete the checkpoints if they are not finite."""
    predictions = learner.predict(clips)
    try:
        refuse_non_finite(predictions, learner.store)
    except InputError:  # resuming would hit the same error
        for path in checkpoints:
            path.unlink(missing_ok=True)
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
