"""Train the heads that a run averages: of several recipes, or one for each fold of the clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
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
from pipeline.train.folds import divided, learnt_clips
from pipeline.train.learner import Learner, make_head, seeded
from pipeline.train.recipes.load import Recipe
from pipeline.train.trial import best_of
from pipeline.types import Clips, Log


def head_checkpoints(folder: Path, recipe: Recipe) -> list[Path]:
    """Return where the training of each head is kept: the folds of the first recipe, and so on."""
    count = len(recipe.members) * recipe.train.folds
    return [folder / f"head{number}-{CHECKPOINT}" for number in range(count)]


def fit_heads(
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
    """Train the heads of a run, each as a training alone begins and ends.

    Parameters
    ----------
    store : Store
    recipe : Recipe
        Each of its members is trained on each of its folds.
    parts : dict
        Positions of the clips of train, val and test.
    checkpoints : sequence of Path
        Where the training of each head is kept, and resumes from; see `head_checkpoints`.
    seed : int
        Of every training.
    device : torch.device
    threads : int
        The most threads of a step.
    log : callable
    after_epoch : callable
        Takes each row of the joint history, when all heads are trained.

    Returns
    -------
    learner : Learner
        Its head is the `Ensemble`.
    fitted : Fitted
        Its history has the mean of the heads for each epoch. Its val predictions are of each clip
        by the heads that did not learn from it.
    best_epochs : list of int
        Of each head.

    Raises
    ------
    InputError
        If there are fewer people than folds, several processes train together, or a loss is not
        finite.
    """
    if processes().count > 1:
        raise InputError(
            "several processes train one head together; set train.folds to 1, without mean_with"
        )
    heads, outcomes, predictions = list[Head](), list[Fitted](), list[Predictions]()
    count = recipe.train.folds
    folds = divided(store, parts, count) if count > 1 else [(parts["train"], parts["val"])]
    left = iter(checkpoints)
    for member in recipe.members:
        held_out = []
        for number, (train, scored) in enumerate(folds, 1):
            fold = f"fold {number} of {count}: " if count > 1 else ""
            log(f"{member.name}, {fold}{len(train)} clips, {len(scored)} held out")
            with seeded(seed, device):
                head = make_head(store, member).to(device)
                learner = Learner(
                    head,
                    store,
                    member,
                    train,
                    seed=seed,
                    val_clips=scored,
                    measured=learnt_clips(parts, recipe),
                    threads=threads,
                )
                outcomes.append(fit(learner, scored, log=log, checkpoint=next(left)))
            heads.append(head)
            held_out.append(learner.predict(np.setdiff1d(parts["val"], train)))
        predictions.append(_in_order(held_out, parts["val"]))
    monitor = recipe.train.monitor
    history = _joint([one.history for one in outcomes])
    for row in history:
        after_epoch(row)
    fitted = Fitted(
        best_epoch=best_of([row[f"val_{monitor}"] for row in history], monitor) + 1,
        stopped="patience" if all(one.stopped == "patience" for one in outcomes) else "epochs",
        history=history,
        resumed=min(one.resumed for one in outcomes),
        val=_mean(predictions),
    )
    learner.head = Ensemble(heads)
    return learner, fitted, [one.best_epoch for one in outcomes]


def _joint(histories: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row an epoch: the mean over heads, where a head that ended keeps its last row."""
    rows = []
    for epoch in range(max(map(len, histories))):
        of_heads = [history[min(epoch, len(history) - 1)] for history in histories]
        # Recipes with mixup have another training score than those without.
        shared = [name for name in of_heads[0] if all(name in one for one in of_heads)]
        row = {name: float(np.mean([one[name] for one in of_heads])) for name in shared}
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


def _mean(predictions: Sequence[Predictions]) -> Predictions:
    """Return the mean of probabilities of the same clips, and of the attention of some heads."""
    if len(predictions) == 1:
        return predictions[0]
    logs = np.stack([one.log_probabilities for one in predictions])
    weights = [one.attention for one in predictions if one.attention is not None]
    return replace(
        predictions[0],
        log_probabilities=np.logaddexp.reduce(logs, axis=0) - np.log(len(logs)),
        attention=[np.mean(rows, axis=0) for rows in zip(*weights, strict=True)] or None,
    )
