"""The training loop: epochs, early stopping, the best weights and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from featstore import InputError
from featstore.keys import Json
from pipeline.metrics.predictions import Predictions
from pipeline.system.distributed import processes
from pipeline.train.checkpoint import (
    Tensors,
    generator_state,
    optimizer_state,
    prefixed,
    read_checkpoint,
    restore_generators,
    restore_optimizer,
    under,
    write_checkpoint,
)
from pipeline.train.log import progress
from pipeline.train.optimizer import Schedule
from pipeline.train.predict import refuse_odd_features
from pipeline.train.recipes.load import Train
from pipeline.types import Clips, Floats

if TYPE_CHECKING:
    from pipeline.train.learner import Learner


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The outcome of a training.

    Attributes
    ----------
    best_epoch : int
        Counted from 1.
    stopped : {"patience", "epochs"}
        Why training ended.
    history : list of dict
        One row per epoch.
    resumed : int
        Number of epochs that ran in earlier processes.
    val : Predictions
        The val predictions of the best epoch.
    """

    best_epoch: int
    stopped: str
    history: list[dict[str, Any]]
    resumed: int
    val: Predictions


@dataclass(slots=True)
class _Standing:
    """The progress after an epoch, without the state of the learner and the schedule."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_val: Predictions | None = None
    best_weights: Tensors = field(default_factory=dict)


def fit(
    learner: Learner,
    val_clips: Clips,
    *,
    log: Callable[[str], None],
    checkpoint: Path | None = None,
    after_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Fitted:
    """Train until `epochs` or `patience` ends it; the head keeps the weights of its best epoch.

    Parameters
    ----------
    learner : Learner
    val_clips : int64 array (n,)
    log : callable
        Takes one line at a time.
    checkpoint : Path, optional
        Written after every epoch; if it exists, training resumes from it.
    after_epoch : callable, optional
        Takes each row of the history; an exception from it ends the training.

    Raises
    ------
    InputError
        If a loss or the features of a val clip are not finite, or the checkpoint cannot be read.
    """
    options = learner.recipe.train
    schedule, standing = Schedule(options, learner.optimizer), _Standing()
    if checkpoint is not None and checkpoint.exists():
        standing = _restore(checkpoint, learner, schedule, val_clips)
        log(f"resuming an interrupted training after epoch {len(standing.history)}")
    resumed, group = len(standing.history), processes()
    group.check_equal(resumed)
    checkpoint = checkpoint if group.first else None  # only the first process writes
    while len(standing.history) < options.epochs and not _ran_out(standing, options):
        try:
            score = _epoch(learner, val_clips, standing)
        except InputError:  # resuming would hit the same error
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)
            raise
        log(progress(standing.history, options, standing.best_epoch))
        schedule.step(score)
        if checkpoint is not None:
            _save(checkpoint, learner, schedule, standing)
        if after_epoch is not None:
            after_epoch(standing.history[-1])
    learner.head.load_state_dict(standing.best_weights)
    return Fitted(
        best_epoch=standing.best_epoch,
        stopped="patience" if _ran_out(standing, options) else "epochs",
        history=standing.history,
        resumed=resumed,
        val=cast(Predictions, standing.best_val),  # set by the first epoch
    )


def _ran_out(standing: _Standing, options: Train) -> bool:
    """Return whether the patience is exhausted."""
    waited = len(standing.history) - max(standing.best_epoch, options.min_epochs)
    return options.patience is not None and waited >= options.patience


def _epoch(learner: Learner, val_clips: Clips, standing: _Standing) -> float:
    """Run an epoch, record it in `standing`, and return its score; higher is better."""
    started, waited = time.perf_counter(), learner.waited
    epoch = len(standing.history) + 1
    lr = learner.optimizer.param_groups[0]["lr"]
    loss, mass = learner.epoch()
    _check_finite(epoch, "train", loss)
    val = learner.predict(val_clips)
    if not math.isfinite(val.loss):
        refuse_odd_features(val, learner.store)
    _check_finite(epoch, "val", val.loss)
    row = _row(epoch, lr, loss, mass, val, mixed=learner.recipe.augment.mixup > 0)
    seconds = time.perf_counter() - started
    row |= {"seconds": seconds, "data_share": (learner.waited - waited) / seconds}
    standing.history.append(row)
    monitored: float = row[f"val_{learner.recipe.train.monitor}"]
    score = -monitored if learner.recipe.train.monitor == "loss" else monitored
    if score > standing.best_score:
        standing.best_epoch, standing.best_score, standing.best_val = epoch, score, val
        state = learner.head.state_dict()
        standing.best_weights = {name: tensor.clone() for name, tensor in state.items()}
    return score


def _row(
    epoch: int, lr: float, loss: float, mass: float, val: Predictions, *, mixed: bool
) -> dict[str, Any]:
    """Return a row of the history; its column names say whether `mass` is an accuracy."""
    train_score, scores = "train_target_mass" if mixed else "train_top1", val.metrics
    row = {"epoch": epoch, "lr": lr, "train_loss": loss, train_score: mass, "val_loss": val.loss}
    return row | {f"val_{key}": score for key, score in scores.scores.items()}


def _check_finite(epoch: int, part: str, loss: float) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"the {part} loss became {loss} in epoch {epoch}; lower train.lr, set "
            "train.clip_norm to 1.0, or check the features for values that are not finite"
        )


def _save(path: Path, learner: Learner, schedule: Schedule, standing: _Standing) -> None:
    optimizer, groups = optimizer_state(learner.optimizer)
    generators, states = generator_state(learner, learner.device)
    tensors = {
        **prefixed("head", learner.head.state_dict()),
        **prefixed("best", standing.best_weights),
        **prefixed("optimizer", optimizer),
        **prefixed("generators", generators),
        **prefixed("val", _as_tensors(cast(Predictions, standing.best_val))),
    }
    values: Json = {
        "history": standing.history,
        "best_epoch": standing.best_epoch,
        "best_score": standing.best_score,
        "optimizer": groups,
        "schedule": schedule.state(),
        "generators": states,
    }
    write_checkpoint(path, tensors, values)


def _restore(path: Path, learner: Learner, schedule: Schedule, val_clips: Clips) -> _Standing:
    """Restore the learner and the schedule from a checkpoint, and return the progress."""
    tensors, values = read_checkpoint(path)
    learner.head.load_state_dict(under("head", tensors))
    restore_optimizer(learner.optimizer, under("optimizer", tensors), values["optimizer"])
    schedule.restore(values["schedule"])
    generators = under("generators", tensors)
    restore_generators(learner, learner.device, generators, values["generators"])
    labels = learner.store.labels[val_clips]
    return _Standing(
        history=values["history"],
        best_epoch=values["best_epoch"],
        best_score=values["best_score"],
        best_val=_as_predictions(under("val", tensors), val_clips, labels),
        best_weights={k: v.to(learner.device) for k, v in under("best", tensors).items()},
    )


def best_val_logs(checkpoint: Path) -> Floats:
    """Return the log-probabilities of the val clips at the best epoch so far, (n, classes)."""
    logs: Floats = read_checkpoint(checkpoint)[0]["val.log_probabilities"].numpy()
    return logs


def _as_tensors(val: Predictions) -> Tensors:
    tensors = {"log_probabilities": torch.from_numpy(val.log_probabilities)}
    if val.attention is not None:
        tensors["attention"] = torch.from_numpy(np.concatenate(val.attention))
        tensors["steps"] = torch.tensor([len(weights) for weights in val.attention])
    return tensors


def _as_predictions(tensors: Tensors, clips: Clips, labels: Clips) -> Predictions:
    attention = None
    if "steps" in tensors:
        ends = tensors["steps"].numpy().cumsum()[:-1]
        attention = np.split(tensors["attention"].numpy(), ends)
    return Predictions(
        clips=clips,
        labels=labels,
        log_probabilities=tensors["log_probabilities"].numpy(),
        attention=attention,
    )
