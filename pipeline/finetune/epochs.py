"""The finetuning loop: epochs, early stopping, the best weights and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from featstore.errors import InputError
from pipeline.finetune.learner import Tuner
from pipeline.finetune.options import Tuning
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


@dataclass(slots=True)
class Standing:
    """The progress after an epoch, without the tuner's state.

    Attributes
    ----------
    history : list of dict
        One row per epoch: train_loss, val_loss, val_top1 and val_mean_class_accuracy.
    best_epoch : int
        Counted from 1.
    best : dict of str to Tensor
        The trained weights after the best epoch.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)

    def ended(self, tuning: Tuning) -> str:
        """Return why training ends here; empty if it continues."""
        epochs = len(self.history)
        if epochs - self.best_epoch >= tuning.patience:
            return f"val mean class accuracy had not improved for {tuning.patience} epochs"
        return f"all {epochs} epochs had run" if epochs >= tuning.epochs else ""


def fit(tuner: Tuner, tuning: Tuning, checkpoint: Path, log: Callable[[str], None]) -> Standing:
    """Train until `epochs` or `patience` ends it; the model keeps the weights of its best epoch.

    Parameters
    ----------
    tuner : Tuner
    tuning : Tuning
    checkpoint : Path
        Written after every epoch; if it exists, training resumes from it.
    log : callable
        Takes one line at a time.

    Raises
    ------
    InputError
        If a loss is not finite, or the checkpoint cannot be read.
    """
    standing = Standing()
    if checkpoint.exists():
        standing = _restore(checkpoint, tuner)
        log(f"resuming an interrupted finetuning after epoch {len(standing.history)}")
    while not standing.ended(tuning):
        began = time.perf_counter()
        try:
            _epoch(tuner, standing)
        except InputError:  # resuming would hit the same error
            checkpoint.unlink(missing_ok=True)
            raise
        log(_line(standing, time.perf_counter() - began))
        _save(checkpoint, tuner, standing)
    tuner.load(standing.best)
    log(f"best epoch {standing.best_epoch}; training ended because {standing.ended(tuning)}")
    return standing


def _epoch(tuner: Tuner, standing: Standing) -> None:
    """Run an epoch and record it in `standing`."""
    train_loss = tuner.epoch(len(standing.history))
    scores, val_loss = tuner.scores()
    for part, loss in (("train", train_loss), ("val", val_loss)):
        if not math.isfinite(loss):
            raise InputError(
                f"the {part} loss became {loss} in epoch {len(standing.history) + 1}; lower --lr, "
                "or pass --precision float32."
            )
    best = max((row["val_mean_class_accuracy"] for row in standing.history), default=-math.inf)
    row = {"train_loss": train_loss, "val_loss": val_loss, "val_top1": scores.top1}
    standing.history.append(row | {"val_mean_class_accuracy": scores.mean_class_accuracy})
    if scores.mean_class_accuracy > best:
        standing.best_epoch = len(standing.history)
        standing.best = {name: weight.detach().clone() for name, weight in tuner.trained().items()}


def _line(standing: Standing, seconds: float) -> str:
    row, epoch = standing.history[-1], len(standing.history)
    return (
        f"epoch {epoch:3d}  train loss {row['train_loss']:.3f}  val loss {row['val_loss']:.3f} "
        f"top1 {row['val_top1']:.3f} mean class accuracy {row['val_mean_class_accuracy']:.3f}"
        f"  {seconds:.1f} s" + " *" * (standing.best_epoch == epoch)
    )


def _save(path: Path, tuner: Tuner, standing: Standing) -> None:
    optimizer, groups = optimizer_state(tuner.optimizer)
    generators, states = generator_state(tuner, tuner.device)
    tensors: Tensors = {
        **prefixed("model", tuner.trained()),
        **prefixed("best", standing.best),
        **prefixed("optimizer", optimizer),
        **prefixed("generators", generators),
    }
    values = {
        "history": standing.history,
        "best_epoch": standing.best_epoch,
        "optimizer": groups,
        "generators": states,
        "scaler": tuner.scaler.state_dict(),
    }
    write_checkpoint(path, tensors, values)


def _restore(path: Path, tuner: Tuner) -> Standing:
    """Restore a tuner from a checkpoint, and return the progress."""
    tensors, values = read_checkpoint(path)
    tuner.load(under("model", tensors))
    restore_optimizer(tuner.optimizer, under("optimizer", tensors), values["optimizer"])
    generators = under("generators", tensors)
    restore_generators(tuner, tuner.device, generators, values["generators"])
    if values["scaler"]:
        tuner.scaler.load_state_dict(values["scaler"])
    best = {name: weight.to(tuner.device) for name, weight in under("best", tensors).items()}
    return Standing(values["history"], values["best_epoch"], best)
