"""One trial: a training that sees train and val alone, and leaves nothing but its scores.

Nothing here knows of Optuna, so that workers need none.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from featstore import InputError, Store
from featstore.format.rows import MappedRows
from pipeline.system.out_of_memory import is_out_of_memory
from pipeline.train.data.feed import Feed
from pipeline.train.epochs import fit
from pipeline.train.learner import Learner, device_of, make_head, seeded
from pipeline.train.recipes.load import Recipe, recipe_of

State = Literal["complete", "pruned", "fail"]  # as Optuna has them
# Trials are looked at after so many epochs, then after three times as many, and so on; of those
# that come so far a third goes on.
FIRST_RUNG = 4
REDUCTION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What decides a trial.

    Attributes
    ----------
    number : int
    recipe : dict
        As plain values.
    key : str
        The store's.
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
    """How a trial ended.

    Attributes
    ----------
    number : int
    state : {"complete", "pruned", "fail"}
    scores : list of float
        What is monitored, on val, by epoch.
    seconds : float
    why : str
        The reason of a failure.
    """

    number: int
    state: State
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    why: str = ""


class PrunedError(Exception):
    """Ends a trial whose scores are below those of others."""


def halving(histories: Sequence[Sequence[float]], monitor: str) -> dict[int, float]:
    """Return what the best score of a trial must reach by which epoch, or it is ended.

    Successive halving without waiting: Li et al., "A system for massively parallel hyperparameter
    tuning", MLSys 2020, algorithm 2, where trials that may not go on at once never do, as Optuna's
    `SuccessiveHalvingPruner` has it.

    Parameters
    ----------
    histories : sequence of sequence of float
        Scores by epoch of the trials before, whether pruned or complete.
    monitor : str
        What the scores are.

    Returns
    -------
    dict of int to float
        By epoch. Nothing for epochs that fewer than `REDUCTION` trials have come to.

    Examples
    --------
    >>> halving([[0.1, 0.1, 0.2, 0.2], [0.1, 0.4, 0.1, 0.3], [0.2] * 4], "top1")
    {4: 0.4}
    """
    bars, epoch = dict[int, float](), FIRST_RUNG
    while (
        len(there := [scores[:epoch] for scores in histories if len(scores) >= epoch]) >= REDUCTION
    ):
        reached = sorted(scores[best_of(scores, monitor)] for scores in there)
        best_first = reached if monitor == "loss" else reached[::-1]
        go_on = max(1, (len(there) + 1) // REDUCTION)  # of them and the next one
        bars[epoch] = best_first[go_on - 1]
        epoch *= REDUCTION
    return bars


def is_better(score: float, other: float, monitor: str) -> bool:
    """Whether a score is better than another one, of losses the lower."""
    return score < other if monitor == "loss" else score > other


def best_of(scores: Sequence[float], monitor: str) -> int:
    """Return the place of the best score, of several the first."""
    return int(np.argmin(scores) if monitor == "loss" else np.argmax(scores))


class _Watch:
    """Notes the scores of a trial, and ends it where they are below the bars."""

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
    """Train on a store that is open.

    Parameters
    ----------
    store : Store
    task : Task
        A loss that is not finite and a want of memory make it a failed trial, no error.
    shared : bool
        Whether other processes may read the store as well: batches are then gathered from its map,
        where it has one, and nothing is held.
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
    """Train as `pipeline.train.train.train` does, up to its look at test."""
    device, val = device_of(recipe, task.device), store.split("val")
    with seeded(task.seed, device):
        head = make_head(store, recipe).to(device)
        learner = Learner(head, store, recipe, store.split("train"), seed=task.seed, val_clips=val)
        mapped = all(isinstance(own.rows, MappedRows) for own in store.stores)
        if shared and mapped and device.type == "cpu":  # the same batches
            steps, standardise = recipe.data.steps, learner.standardise
            learner.feed = Feed(store, device, steps=steps, standardise=standardise)
        fit(learner, val, log=lambda line: None, after_epoch=watch)


# torch's generator, which heads draw dropout from, is one for the whole process.
_one_at_a_time = threading.Lock()


def call(job: tuple[bytes, Task]) -> Outcome:
    """Train in a worker process.

    Parameters
    ----------
    job : tuple of (bytes, Task)
        The store, pickled: it is opened again by its path, once a process.

    Raises
    ------
    FeatstoreError
        If this worker cannot read the store, or finds another one in its place.
    """
    pickled, task = job
    with _one_at_a_time:
        return run(_opened(pickled, task.key), task, shared=True)


@lru_cache(maxsize=1)
def _opened(pickled: bytes, key: str) -> Store:
    store: Store = pickle.loads(pickled)  # noqa: S301 - of the process that asks
    if store.key != key:
        raise InputError(
            f"{store.path} was {key[:12]} when the sweep began and is {store.key[:12]} now; build "
            "the first one again, or give another --out"
        )
    return store
