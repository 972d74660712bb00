"""The learner: a head with its loss, optimizer, batches and random generators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from featstore.reading.store import Store
from models.losses import adjusted, cross_entropy, focal, soft_targets
from pipeline.metrics.predictions import Predictions
from pipeline.system.device import choose_device
from pipeline.system.distributed import processes
from pipeline.system.memory import keep_freed_memory
from pipeline.system.threads import one_thread
from pipeline.train.data.augment import add_noise, change_time, mixup
from pipeline.train.data.feed import Feed, TensorBatch
from pipeline.train.data.standardise import standardiser
from pipeline.train.data.views import draw_views, fusion_of, views_of
from pipeline.train.imbalance import draw_by, of_classes
from pipeline.train.optimizer import make_optimizer
from pipeline.train.predict import means_of, predict
from pipeline.train.recipes.load import Train
from pipeline.train.threads import StepThreads
from pipeline.types import Clips

if TYPE_CHECKING:
    from models.heads import Head
    from pipeline.train.recipes.load import Recipe


def make_heads(store: Store, recipe: Recipe) -> Head:
    """Return the head of a run: that of the recipe, or an `Ensemble` of all heads it averages.

    Parameters
    ----------
    store : Store
    recipe : Recipe
    """
    from models.ensemble import Ensemble

    heads = [
        make_head(store, member) for member in recipe.members for _ in range(member.train.folds)
    ]
    return Ensemble(heads) if len(heads) > 1 else heads[0]


def make_head(store: Store, recipe: Recipe) -> Head:
    """Return the recipe's head: for one view of several, or one head per store to fuse logits.

    Parameters
    ----------
    store : Store
    recipe : Recipe
    """
    from models.heads import build_head
    from models.late_fusion import LateFusion

    options = recipe.head.model_dump(exclude={"num_classes"})
    classes = len(store.classes)
    fusion = fusion_of(store, recipe)
    if fusion in (None, "views"):  # all views have the same features
        one = store.stores[0]
        places = one.attributes.get("places", 1)
        return build_head(features=one.dim, classes=classes, places=places, **options)
    if fusion == "concat":
        return build_head(features=store.dim, classes=classes, places=1, **options)
    heads = [
        build_head(
            features=member.dim,
            classes=classes,
            places=member.attributes.get("places", 1),
            **options,
        )
        for member in store.stores
    ]
    return LateFusion(heads, [member.dim for member in store.stores])


def device_of(recipe: Recipe, name: str) -> torch.device:
    """Return the device of that name if it supports the recipe's precision; see `choose_device`.

    Raises
    ------
    InputError
        If the device does not exist or lacks the precision.
    """
    return choose_device(name, recipe.train.precision, option="train.precision")


class Learner:
    """A head with its optimizer and random generators; it learns one epoch at a time.

    Parameters
    ----------
    head : Head
    store : Store
    recipe : Recipe
    clips : int64 array (n,)
        Positions of the training clips.
    seed : int
    val_clips : int64 array (n,), optional
        Positions of the clips to classify after every epoch.
    measured : int64 array (n,), optional
        Positions of the clips whose mean and std standardise features, if not `clips`.
    threads : int
        The most threads of a step on a CPU, see `pipeline.train.threads`; torch has one thread.
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
        measured: Clips | None = None,
        threads: int = 1,
    ) -> None:
        keep_freed_memory()  # without it, clearing pages takes a fifth of each step
        self.head, self.store, self.recipe, self.clips = head, store, recipe, clips
        self.device = next(head.parameters()).device
        self.processes = processes()
        self.replica = self.processes.replica(head)
        half = recipe.train.precision == "bf16"
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=half)
        # One generator per purpose, so that their draws are independent.
        *seeds, of_views = np.random.SeedSequence(seed).spawn(4)
        self.order_rng, self.mixup_rng, self.time_rng = map(np.random.default_rng, seeds)
        views = views_of(store, recipe)
        # None without views, so that checkpoints stay the same.
        self.view_rng = np.random.default_rng(of_views) if views > 1 else None
        self.noise = torch.Generator(self.device).manual_seed(seed)
        labels, classes = store.labels[clips], len(store.classes)
        self.probabilities = draw_by(recipe.train, labels, classes)
        self.loss = make_loss(recipe.train, of_classes(recipe.train, labels, classes), self.device)
        how, steps = recipe.data.standardise, recipe.data.steps
        measured = clips if measured is None else measured
        self.standardise = standardiser(store, how, measured, device=self.device)
        held = clips if val_clips is None else np.concatenate([clips, val_clips])
        self.feed = Feed(
            store,
            self.device,
            steps=steps,
            standardise=self.standardise,
            held=held,
            views=views,
        )
        self.optimizer = make_optimizer(recipe.train, head)
        alone = self.device.type == "cpu" and self.processes.count == 1
        self.threads = StepThreads(head, threads if alone else 1)

    def epoch(self) -> tuple[float, float]:
        """Train for one pass over the training clips.

        Returns
        -------
        loss : float
        target_mass : float
            The mean target mass of the predicted class. It equals the accuracy, except under
            mixup, where a clip has two classes.
        """
        if not self.head.learns:
            return self._remember()
        self.head.train()
        self.processes.seed_dropout(self.order_rng)
        size, rng = self.recipe.train.batch_size, self.order_rng
        batches = self.feed.batches(self.clips, size, rng=rng, probabilities=self.probabilities)
        # Read after the last step: reading a number makes a GPU wait.
        steps = self.processes.total(torch.stack([self._step(batch) for batch in batches]))
        sums = steps.cpu().numpy().sum(axis=0)
        return float(sums[0] / len(self.clips)), float(sums[1] / len(self.clips))

    def _remember(self) -> tuple[float, float]:
        """Give the training clips to a head that needs no gradients."""
        means = means_of(self.feed, self.clips, batch_size=self.recipe.train.batch_size)
        labels = torch.from_numpy(self.store.labels[self.clips]).to(self.device)
        self.head.remember(means, labels)
        predictions = self.predict(self.clips)
        right = predictions.predicted == predictions.labels
        return predictions.loss, float(right.mean())

    def _step(self, batch: TensorBatch) -> Tensor:
        """Learn from one batch; return the loss and the target mass of this process's clips."""
        features, mask = batch.features, batch.mask
        if self.view_rng is not None:
            features = draw_views(features, self.feed.views, self.view_rng)
        targets = soft_targets(batch.labels, len(self.store.classes))
        augment, spread = self.recipe.augment, self.recipe.data.steps is not None
        features, mask = change_time(features, mask, augment, spread=spread, rng=self.time_rng)
        if augment.noise:
            features = add_noise(features, mask, augment.noise, generator=self.noise)
        if augment.mixup:
            features, mask, targets = mixup(
                features, mask, targets, augment.mixup, rng=self.mixup_rng
            )
        mine, weight = self.processes.own(len(mask))

        def compute() -> tuple[Tensor, Tensor]:
            with self.autocast:
                logits = self.replica(features[mine], mask[mine]).logits
            logits = logits.float()
            loss = weight * self.loss(logits, targets[mine], whole=targets)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss * self.processes.count)  # gradients are averaged later
            return loss.detach(), logits.detach()

        whole = tuple(mask.shape) == (self.recipe.train.batch_size, self.recipe.data.steps)
        loss, logits = self.threads.run(compute) if whole else compute()
        if self.recipe.train.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.head.parameters(), self.recipe.train.clip_norm)
        self.optimizer.step()
        mass = weight * targets[mine].gather(1, logits.argmax(dim=1, keepdim=True)).sum()
        return torch.stack([loss.double() * len(mask), mass.double()])

    def predict(self, clips: Clips) -> Predictions:
        """Return predictions on clips, in batches of the recipe's size."""
        size = self.recipe.train.batch_size
        predictions = predict(self.head, self.feed, clips, batch_size=size)
        return replace(
            predictions, log_probabilities=self.processes.of_first(predictions.log_probabilities)
        )

    @property
    def waited(self) -> float:
        """Seconds spent waiting for data so far."""
        return self.feed.waited


def make_loss(
    options: Train, of_classes: npt.NDArray[np.float64] | None, device: torch.device
) -> Callable[..., Tensor]:
    """Return the recipe's loss of (logits, targets); see `models.losses`.

    `of_classes` is the result of `pipeline.train.imbalance.of_classes` on the training clips.
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


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch within the block, and restore its generators afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[int]:
    """Seed torch within the block, with one thread on a CPU; see `pipeline.train.threads`.

    Yields
    ------
    int
        The most threads of a step, for `Learner`.
    """
    threads = one_thread() if device.type == "cpu" else nullcontext(1)
    with threads as most, seeded(seed, device):
        yield most
