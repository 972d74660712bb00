"""One trial: a training on train and val that returns only its scores.

This module does not import Optuna, so workers do not need it.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch

from featstore import InputError, Store
from featstore.format.rows import MappedRows
from pipeline.system.out_of_memory import is_out_of_memory
from pipeline.train.data.feed import Feed
from pipeline.train.epochs import fit
from pipeline.train.learner import Learner, device_of, make_head, reproducible
from pipeline.train.recipes.load import Recipe, recipe_of
from pipeline.types import Clips

State = Literal["complete", "pruned", "fail"]  # Optuna's names
# Trials are compared after FIRST_RUNG epochs, then after 3, 9, ... times as many. The best third
# continues each time.
FIRST_RUNG = 4
REDUCTION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The inputs of a trial.

    Attributes
    ----------
    number : int
    recipe : dict
        Plain values.
    key : str
        The store's key.
    seed : int
    device : str
    bars : mapping of int to float
        See `halving`.
    """

    number: int
    recipe: dict[str, Any]
    key: str
    seed: int
    device: str
    bars: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a trial.

    Attributes
    ----------
    number : int
    state : {"complete", "pruned", "fail"}
    scores : list of float
        The monitored score on val, by epoch.
    seconds : float
    why : str
        The reason for a failure.
    """

    number: int
    state: State
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    why: str = ""


class PrunedError(Exception):
    """Raised to end a trial that scores below others."""


def promoted(count: int) -> int:
    """Return how many of some trials go on after a rung, at least one."""
    return max(1, (count + 1) // REDUCTION)


def halving(histories: Sequence[Sequence[float]], monitor: str) -> dict[int, float]:
    """Return the score that a trial's best epoch must reach, by epoch, to continue.

    Asynchronous successive halving: Li et al., "A system for massively parallel hyperparameter
    tuning", MLSys 2020, algorithm 2. A trial that is stopped never resumes, as in Optuna's
    `SuccessiveHalvingPruner`.

    Parameters
    ----------
    histories : sequence of sequence of float
        Scores by epoch of earlier trials, pruned or complete.
    monitor : str
        The name of the score.

    Returns
    -------
    dict of int to float
        The bar by epoch; epochs that fewer than `REDUCTION` trials reached have none.

    Examples
    --------
    >>> halving([[0.1, 0.1, 0.2, 0.2], [0.1, 0.4, 0.1, 0.3], [0.2] * 4], "top1")
    {4: 0.4}
    """
    bars, epoch = dict[int, float](), FIRST_RUNG
    while (
        len(reached_epoch := [scores[:epoch] for scores in histories if len(scores) >= epoch])
        >= REDUCTION
    ):
        bests = sorted(scores[best_of(scores, monitor)] for scores in reached_epoch)
        best_first = bests if monitor == "loss" else bests[::-1]
        bars[epoch] = best_first[promoted(len(reached_epoch)) - 1]  # counts the next trial too
        epoch *= REDUCTION
    return bars


def is_better(score: float, other: float, monitor: str) -> bool:
    """Return whether a score is better than another; lower losses are better."""
    return score < other if monitor == "loss" else score > other


def best_of(scores: Sequence[float], monitor: str) -> int:
    """Return the index of the best score; ties go to the first."""
    return int(np.argmin(scores) if monitor == "loss" else np.argmax(scores))


class _Watch:
    """Records the scores of a trial, and ends it if they are below the bars."""

    def __init__(self, monitor: str, bars: Mapping[int, float]) -> None:
        self.monitor, self.bars = monitor, bars
        self.scores: list[float] = []

    def __call__(self, row: dict[str, Any]) -> None:
        self.scores.append(float(row[f"val_{self.monitor}"]))
        bar = self.bars.get(len(self.scores))
        best = self.scores[best_of(self.scores, self.monitor)]
        if bar is not None and is_better(bar, best, self.monitor):
            raise PrunedError


def run(store: Store, task: Task, *, shared: bool = False) -> Outcome:
    """Run a trial on an open store, and return its outcome.

    Parameters
    ----------
    store : Store
    task : Task
        A loss that is not finite, or too little memory, gives a failed trial instead of an error.
    shared : bool
        Whether other processes read the store too. If so, batches are gathered from a mapped
        store without holding features.
    """
    started = time.perf_counter()
    recipe = recipe_of(task.recipe, f"trial {task.number}")
    watch = _Watch(recipe.train.monitor, task.bars)
    state: State = "complete"
    why = ""
    try:
        _train(store, recipe, task, watch, shared=shared)
    except PrunedError:
        state = "pruned"
    except (InputError, MemoryError, RuntimeError) as error:
        if not isinstance(error, InputError) and not is_out_of_memory(error):
            raise
        state, why = "fail", str(error)
    seconds = time.perf_counter() - started
    return Outcome(number=task.number, state=state, scores=watch.scores, seconds=seconds, why=why)


def _train(store: Store, recipe: Recipe, task: Task, watch: _Watch, *, shared: bool) -> None:
    """Train like `pipeline.train.train.train`, without the test."""
    device, parts = device_of(recipe, task.device), (store.split("train"), store.split("val"))
    with learner_of(store, recipe, *parts, seed=task.seed, device=device) as learner:
        mapped = all(isinstance(member.rows, MappedRows) for member in store.stores)
        if shared and mapped and device.type == "cpu":  # the batches stay the same
            steps, standardise = recipe.data.steps, learner.standardise
            views = learner.feed.views
            learner.feed = Feed(store, device, steps=steps, standardise=standardise, views=views)
        fit(learner, parts[1], log=lambda line: None, after_epoch=watch)


@contextmanager
def learner_of(
    store: Store,
    recipe: Recipe,
    train: Clips,
    val: Clips,
    *,
    seed: int,
    device: torch.device,
    measured: Clips | None = None,
) -> Iterator[Learner]:
    """Give a learner as every training of this recipe and seed begins with; see `Learner`."""
    with reproducible(seed, device) as threads:
        head = make_head(store, recipe).to(device)
        yield Learner(
            head,
            store,
            recipe,
            train,
            seed=seed,
            val_clips=val,
            measured=measured,
            threads=threads,
        )


# Dropout draws from torch's generator, which the whole process shares.
_one_at_a_time = threading.Lock()


def call(job: tuple[bytes, Task]) -> Outcome:
    """Run a trial in a worker process.

    Parameters
    ----------
    job : tuple of (bytes, Task)
        The pickled store, which every process opens once by its path, and the trial.

    Raises
    ------
    FeatstoreError
        If this worker cannot read the store, or finds another store at its path.
    """
    pickled, task = job
    with _one_at_a_time:
        return run(_opened(pickled, task.key), task, shared=True)


@lru_cache(maxsize=1)
def _opened(pickled: bytes, key: str) -> Store:
    store: Store = pickle.loads(pickled)  # noqa: S301 - from the calling process
    if store.key != key:
        raise InputError(
            f"{store.path} had key {key[:12]} when the sweep started and now has "
            f"{store.key[:12]}; rebuild the first store, or pass another --out"
        )
    return store
