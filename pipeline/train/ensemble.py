"""Train one head for each fold of train and val, for a run that averages them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from featstore import InputError, Store
from models.ensemble import Ensemble
from models.heads import Head
from pipeline.metrics.predictions import Predictions
from pipeline.runs.folder import CHECKPOINT
from pipeline.system.distributed import processes
from pipeline.train.data.checks import Parts
from pipeline.train.epochs import Fitted, fit
from pipeline.train.folds import divided, train_and_val
from pipeline.train.learner import Learner, make_head, seeded
from pipeline.train.recipes.load import Recipe
from pipeline.train.trial import best_of
from pipeline.types import Clips, Log


def fold_checkpoint(folder: Path, number: int) -> Path:
    """Return where the training of one fold is kept."""
    return folder / f"fold{number}-{CHECKPOINT}"


def fit_folds(
    store: Store,
    recipe: Recipe,
    parts: Parts,
    checkpoints: Sequence[Path],
    *,
    seed: int,
    device: torch.device,
    threads: int,
    log: Log,
    after_epoch: Callable[[dict[str, Any]], None],
) -> tuple[Learner, Fitted, list[int]]:
    """Train ``train.folds`` heads, each as a training on the other folds begins and ends.

    Parameters
    ----------
    store : Store
    recipe : Recipe
    parts : dict
        Positions of the clips of train, val and test.
    checkpoints : sequence of Path
        Where the training of each fold is kept, and resumes from.
    seed : int
        Of every training.
    device : torch.device
    threads : int
        The most threads of a step.
    log : callable
    after_epoch : callable
        Takes each row of the joint history, when all folds are trained.

    Returns
    -------
    learner : Learner
        Its head is the `Ensemble`.
    fitted : Fitted
        Its history has the mean of the folds for each epoch. Its val predictions are of each clip
        by the head that did not learn from it.
    best_epochs : list of int
        Of each fold.

    Raises
    ------
    InputError
        If there are fewer people than folds, several processes train together, or a loss is not
        finite.
    """
    if processes().count > 1:
        raise InputError("several processes train one head together; set train.folds to 1")
    heads, outcomes, held_out = list[Head](), list[Fitted](), list[Predictions]()
    measured = train_and_val(parts)
    folds = divided(store, parts, recipe.train.folds)
    for number, (train, scored) in enumerate(folds):
        log(f"fold {number + 1} of {len(folds)}: {len(train)} clips, {len(scored)} held out")
        with seeded(seed, device):
            head = make_head(store, recipe).to(device)
            learner = Learner(
                head,
                store,
                recipe,
                train,
                seed=seed,
                val_clips=scored,
                measured=measured,
                threads=threads,
            )
            outcomes.append(fit(learner, scored, log=log, checkpoint=checkpoints[number]))
        heads.append(head)
        held_out.append(learner.predict(np.setdiff1d(parts["val"], train)))
    monitor = recipe.train.monitor
    history = _joint([one.history for one in outcomes])
    for row in history:
        after_epoch(row)
    fitted = Fitted(
        best_epoch=best_of([row[f"val_{monitor}"] for row in history], monitor) + 1,
        stopped="patience" if all(one.stopped == "patience" for one in outcomes) else "epochs",
        history=history,
        resumed=min(one.resumed for one in outcomes),
        val=_in_order(held_out, parts["val"]),
    )
    learner.head = Ensemble(heads)
    return learner, fitted, [one.best_epoch for one in outcomes]


def _joint(histories: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row an epoch: the mean over folds, where a fold that ended keeps its last row."""
    rows = []
    for epoch in range(max(map(len, histories))):
        of_folds = [history[min(epoch, len(history) - 1)] for history in histories]
        row = {name: float(np.mean([one[name] for one in of_folds])) for name in of_folds[0]}
        seconds = sum(history[epoch]["seconds"] for history in histories if epoch < len(history))
        rows.append({**row, "epoch": epoch + 1, "seconds": seconds})
    return rows


def _in_order(predictions: Sequence[Predictions], clips: Clips) -> Predictions:
    """Join predictions on `clips`, which ascend."""
    order = np.argsort(np.concatenate([one.clips for one in predictions]))
    attention = None
    if all(one.attention is not None for one in predictions):
        weights = [row for one in predictions for row in cast(list[Any], one.attention)]
        attention = [weights[position] for position in order]
    return Predictions(
        clips=clips,
        labels=np.concatenate([one.labels for one in predictions])[order],
        log_probabilities=np.concatenate([one.log_probabilities for one in predictions])[order],
        attention=attention,
    )
