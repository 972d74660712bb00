"""Stage two: train a temporal head on the features of a store. Read it from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn, optim

from featstore import Batch, InputError, Store
from models.heads import Head, build_head
from models.losses import cross_entropy, focal, soft_targets
from pipeline.augment import add_noise, mixup
from pipeline.checks import checked_parts
from pipeline.config import Recipe, Train
from pipeline.device import choose_device
from pipeline.evaluate import Predictions, predict, to_tensors
from pipeline.imbalance import class_weights, sampling_probabilities
from pipeline.narration import conclusion, introduction, progress, why_stopped
from pipeline.results import clips_and_labels, write_run
from pipeline.run import SCORES, compare_with, new_run

Log = Callable[[str], None]
Clips = npt.NDArray[np.int64]


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

    Parameters
    ----------
    store : Store
    recipe : Recipe
    out : Path
        The run folder; must not exist, or be empty.
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
        `out`; `pipeline.run.read_metrics` reads its scores.

    Raises
    ------
    InputError
        If the recipe does not fit the store, `out` is taken, or the loss is not finite.
    """
    started = time.perf_counter()
    parts = checked_parts(store, recipe)
    where = choose_device(device)
    compared = compare_with(baseline, clips_and_labels(store, parts)) if baseline else None
    with new_run(out) as folder, seeded(seed, where):
        options = recipe.head.model_dump(exclude={"num_classes"})
        head = build_head(features=store.dim, classes=len(store.classes), **options).to(where)
        size = sum(tensor.numel() for tensor in head.parameters())
        for line in introduction(store, recipe, parts, size=size):
            log(line)
        learner = Learner(head, store, recipe, parts["train"], seed=seed)
        fitted = fit(learner, parts["val"], log=log)
        # The one look at the test part, by the weights that val chose.
        predictions = {"val": fitted.val, "test": learner.predict(parts["test"])}
        epochs = len(fitted.history)
        reason = why_stopped(fitted.stopped, epochs - fitted.best_epoch, recipe.train)
        log(conclusion(fitted.best_epoch, reason, predictions["test"].metrics))
        training = {
            "seed": seed,
            "device": where.type,
            "seconds": round(time.perf_counter() - started, 3),
            "best_epoch": fitted.best_epoch,
            "epochs": epochs,
            "stopped": fitted.stopped,
            "why_stopped": reason,
            "baseline": compared,
        }
        weights = head.state_dict()
        write_run(
            folder, store, recipe, parts, training, predictions, fitted.history, weights=weights
        )
    return out


class Learner:
    """A head with its optimiser and its sources of chance; it learns one epoch at a time.

    Parameters
    ----------
    head : Head
    store : Store
    recipe : Recipe
    clips : int64 array (n,)
        Positions of the training clips.
    seed : int
    """

    def __init__(self, head: Head, store: Store, recipe: Recipe, clips: Clips, *, seed: int):
        self.head, self.store, self.recipe, self.clips = head, store, recipe, clips
        self.device = next(head.parameters()).device
        # One generator a purpose: what one draws does not depend on what another is used for.
        order, mix = np.random.SeedSequence(seed).spawn(2)
        self.order_rng, self.mixup_rng = np.random.default_rng(order), np.random.default_rng(mix)
        self.noise = torch.Generator(self.device).manual_seed(seed)
        labels, classes = store.labels[clips], len(store.classes)
        sampled = recipe.train.imbalance == "sampler"
        self.probabilities = sampling_probabilities(labels, classes) if sampled else None
        self.loss = make_loss(recipe.train, class_weights(labels, classes), self.device)
        self.optimizer = make_optimizer(recipe.train, head)

    def epoch(self) -> tuple[float, float]:
        """Take one pass over the training clips.

        Returns
        -------
        loss : float
        target_mass : float
            The mean target mass of the predicted class: the accuracy, and under mixup, where a
            clip has two classes, what stands for it.
        """
        self.head.train()
        batches = self.store.stream(
            self.recipe.train.batch_size,
            self.order_rng,
            clips=self.clips,
            probabilities=self.probabilities,
            steps=self.recipe.data.steps,
        )
        sums = np.sum([self._step(batch) for batch in batches], axis=0)
        return float(sums[0] / len(self.clips)), float(sums[1] / len(self.clips))

    def _step(self, batch: Batch) -> tuple[float, float]:
        """Learn from one batch; return the sums over its clips of loss and target mass."""
        features, mask = to_tensors(batch, self.device)
        labels = torch.from_numpy(batch.labels).to(self.device)
        targets = soft_targets(labels, len(self.store.classes))
        augment = self.recipe.augment
        if augment.noise:
            features = add_noise(features, mask, augment.noise, generator=self.noise)
        if augment.mixup:
            features, mask, targets = mixup(
                features, mask, targets, augment.mixup, rng=self.mixup_rng
            )
        logits = self.head(features, mask).logits
        loss = self.loss(logits, targets)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        if self.recipe.train.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.head.parameters(), self.recipe.train.clip_norm)
        self.optimizer.step()
        mass = targets.gather(1, logits.argmax(dim=1, keepdim=True)).sum()
        return loss.item() * len(labels), mass.item()

    def predict(self, clips: Clips) -> Predictions:
        """Classify clips as the recipe has it."""
        size, steps = self.recipe.train.batch_size, self.recipe.data.steps
        return predict(self.head, self.store, clips, batch_size=size, steps=steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """How a training went.

    Attributes
    ----------
    best_epoch : int
        Counted from 1.
    stopped : {"patience", "epochs"}
        Why training ended.
    history : list of dict
        One row an epoch.
    val : Predictions
        Of the best epoch.
    """

    best_epoch: int
    stopped: str
    history: list[dict[str, Any]]
    val: Predictions


def fit(learner: Learner, val_clips: Clips, *, log: Log) -> Fitted:
    """Train until the epochs or the patience end; the head keeps the weights of its best epoch.

    Raises
    ------
    InputError
        If a loss is not finite.
    """
    recipe = learner.recipe
    options = recipe.train
    adjust = make_schedule(options, learner.optimizer)
    history: list[dict[str, Any]] = []
    best_epoch, best_score, stopped = 0, -math.inf, "epochs"
    for epoch in range(1, options.epochs + 1):
        started = time.perf_counter()
        lr = learner.optimizer.param_groups[0]["lr"]
        loss, mass = learner.epoch()
        val = learner.predict(val_clips)
        _check_finite(epoch, loss, val.loss)
        row = _row(epoch, lr, loss, mass, val, mixed=recipe.augment.mixup > 0)
        history.append(row | {"seconds": time.perf_counter() - started})

        monitored = row[f"val_{options.monitor}"]
        score = -monitored if options.monitor == "loss" else monitored
        if score > best_score:
            best_epoch, best_score, best_val = epoch, score, val
            weights = {name: tensor.clone() for name, tensor in learner.head.state_dict().items()}
        log(progress(row, options) + (" *" if best_epoch == epoch else ""))
        waited = epoch - max(best_epoch, options.min_epochs)
        if options.patience is not None and waited >= options.patience:
            stopped = "patience"
            break
        adjust(score)
    learner.head.load_state_dict(weights)
    return Fitted(best_epoch=best_epoch, stopped=stopped, history=history, val=best_val)


def _row(
    epoch: int, lr: float, loss: float, mass: float, val: Predictions, *, mixed: bool
) -> dict[str, Any]:
    """Make a row of the history; its columns say whether `mass` is an accuracy."""
    train_score, scores = "train_target_mass" if mixed else "train_top1", val.metrics
    row = {"epoch": epoch, "lr": lr, "train_loss": loss, train_score: mass, "val_loss": val.loss}
    return row | {f"val_{key}": getattr(scores, key) for key in SCORES}


def make_loss(
    options: Train, weights: npt.NDArray[np.float64], device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of (logits, targets) that the recipe asks for."""
    smoothing = options.label_smoothing
    if options.imbalance == "focal":
        return partial(focal, gamma=options.focal_gamma, label_smoothing=smoothing)
    if options.imbalance == "class_weights":
        weight = torch.tensor(weights, dtype=torch.float32, device=device)
        return partial(cross_entropy, weight=weight, label_smoothing=smoothing)
    return partial(cross_entropy, label_smoothing=smoothing)


def make_optimizer(options: Train, head: nn.Module) -> optim.Optimizer:
    """Return the optimiser that the recipe asks for."""
    kind = optim.AdamW if options.optimizer == "adamw" else optim.Adam
    return kind(head.parameters(), lr=options.lr, weight_decay=options.weight_decay)


def make_schedule(options: Train, optimizer: optim.Optimizer) -> Callable[[float], None]:
    """Return what sets the next epoch's learning rate, given how good (higher) this one was."""
    if options.schedule == "plateau":
        # Torch halves one epoch after its patience. Its default threshold, a share of the best
        # score, would call a negative score (that of a loss) better though it is slightly worse.
        return optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, "max", factor=0.5, patience=4, threshold=0, threshold_mode="abs"
        ).step
    if options.schedule == "cosine":
        cosine = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
        return lambda score: cosine.step()
    return lambda score: None


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch within the block, and leave its generators as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _check_finite(epoch: int, train_loss: float, val_loss: float) -> None:
    for part, loss in (("train", train_loss), ("val", val_loss)):
        if not math.isfinite(loss):
            raise InputError(
                f"the {part} loss became {loss} in epoch {epoch}, so there is nothing to keep; "
                "lower train.lr, set train.clip_norm to 1.0, or look for features that are not "
                "finite"
            )
