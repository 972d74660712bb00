"""Stage two: train a temporal head on the features of a store. Read it from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from featstore import InputError, Store
from models.heads import Head
from models.losses import adjusted, cross_entropy, focal, soft_targets
from pipeline.report.baselines import baseline_log, no_better
from pipeline.report.fonts import labels_of
from pipeline.runs.folder import CHECKPOINT, compare_with, new_run, unfinished_of
from pipeline.system.device import choose_device
from pipeline.system.distributed import processes
from pipeline.system.memory import keep_freed_memory
from pipeline.train.baselines import baselines_of
from pipeline.train.data.augment import add_noise, change_time, mixup
from pipeline.train.data.checks import checked_parts, concerns, other_store
from pipeline.train.data.feed import Feed, TensorBatch
from pipeline.train.data.standardise import standardiser
from pipeline.train.data.stores import make_head
from pipeline.train.epochs import Fitted, fit
from pipeline.train.evaluate import write_training
from pipeline.train.imbalance import draw_by, of_classes
from pipeline.train.log import conclusion, introduction, why_stopped
from pipeline.train.optimizer import make_optimizer
from pipeline.train.predict import Predictions, predict, refuse_non_finite
from pipeline.train.recipes.load import Recipe, Train
from pipeline.train.results import clips_and_labels, configuration, write_run

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

    Within `pipeline.system.distributed.process_group` all processes call this alike and train together;
    the first one says and writes what there is to say and write.

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
        `out`; `pipeline.runs.folder.read_metrics` reads its scores.

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


def device_of(recipe: Recipe, name: str) -> torch.device:
    """Return the device of a name, see `choose_device`, if it computes as a recipe asks for.

    Raises
    ------
    InputError
    """
    return choose_device(name, recipe.train.precision, said="train.precision")


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
    val_clips : int64 array (n,), optional
        Those that will be classified after every epoch.
    """

    def __init__(
        self,
        head: Head,
        store: Store,
        recipe: Recipe,
        clips: Clips,
        *,
        seed: int,
        val_clips: Clips | None = None,
    ) -> None:
        keep_freed_memory()  # or every step may clear its pages anew, a fifth of its time
        self.head, self.store, self.recipe, self.clips = head, store, recipe, clips
        self.device = next(head.parameters()).device
        self.processes = processes()
        self.replica = self.processes.replica(head)
        half = recipe.train.precision == "bf16"
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=half)
        # One generator a purpose: what one draws does not depend on what another is used for.
        seeds = np.random.SeedSequence(seed).spawn(3)
        self.order_rng, self.mixup_rng, self.time_rng = map(np.random.default_rng, seeds)
        self.noise = torch.Generator(self.device).manual_seed(seed)
        labels, classes = store.labels[clips], len(store.classes)
        self.probabilities = draw_by(recipe.train, labels, classes)
        self.loss = make_loss(recipe.train, of_classes(recipe.train, labels, classes), self.device)
        how, steps = recipe.data.standardise, recipe.data.steps
        self.standardise = standardiser(store, how, clips, device=self.device)
        held = clips if val_clips is None else np.concatenate([clips, val_clips])
        self.feed = Feed(store, self.device, steps=steps, standardise=self.standardise, held=held)
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
        self.processes.seed_dropout(self.order_rng)
        size, rng = self.recipe.train.batch_size, self.order_rng
        batches = self.feed.batches(self.clips, size, rng=rng, probabilities=self.probabilities)
        # Looked at when all steps are done: a GPU would have to catch up for every number asked.
        steps = self.processes.total(torch.stack([self._step(batch) for batch in batches]))
        sums = steps.cpu().numpy().sum(axis=0)
        return float(sums[0] / len(self.clips)), float(sums[1] / len(self.clips))

    def _step(self, batch: TensorBatch) -> Tensor:
        """Learn from one batch; return what its own clips add to the loss and the target mass."""
        features, mask = batch.features, batch.mask
        targets = soft_targets(batch.labels, len(self.store.classes))
        augment, spread = self.recipe.augment, self.recipe.data.steps is not None
        features, mask = change_time(features, mask, augment, spread=spread, rng=self.time_rng)
        if augment.noise:
            features = add_noise(features, mask, augment.noise, generator=self.noise)
        if augment.mixup:
            features, mask, targets = mixup(
                features, mask, targets, augment.mixup, rng=self.mixup_rng
            )
        own, weight = self.processes.own(len(mask))
        with self.autocast:
            logits = self.replica(features[own], mask[own]).logits
        logits = logits.float()
        loss = weight * self.loss(logits, targets[own], whole=targets)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss * self.processes.count)  # for gradients will be averaged
        if self.recipe.train.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.head.parameters(), self.recipe.train.clip_norm)
        self.optimizer.step()
        mass = weight * targets[own].gather(1, logits.argmax(dim=1, keepdim=True)).sum()
        return torch.stack([loss.detach().double() * len(mask), mass.double()])

    def predict(self, clips: Clips) -> Predictions:
        """Classify clips as the recipe has it."""
        size = self.recipe.train.batch_size
        found = predict(self.head, self.feed, clips, batch_size=size)
        return replace(found, log_probabilities=self.processes.of_first(found.log_probabilities))

    @property
    def waited(self) -> float:
        """Seconds that this has waited for data so far."""
        return self.feed.waited


def make_loss(
    options: Train, of_classes: npt.NDArray[np.float64] | None, device: torch.device
) -> Callable[..., Tensor]:
    """Return the loss of (logits, targets) that the recipe asks for; see `models.losses`.

    `of_classes` is what `pipeline.train.imbalance.of_classes` says of the training clips.
    """
    smoothing = options.label_smoothing
    if options.imbalance == "focal":
        return partial(focal, gamma=options.focal_gamma, label_smoothing=smoothing)
    if of_classes is None:
        return partial(cross_entropy, label_smoothing=smoothing)
    numbers = torch.tensor(of_classes, dtype=torch.float32, device=device)
    if options.imbalance.startswith("class_weights"):
        return partial(cross_entropy, weight=numbers, label_smoothing=smoothing)
    return partial(adjusted, adjustment=numbers, label_smoothing=smoothing)


def _silent(line: str) -> None:
    pass


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch within the block, and leave its generators as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
