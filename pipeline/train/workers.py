"""Train several runs at once, each in a process with one thread.

A training on a CPU has the bits of one thread (see `pipeline.train.threads`), so its run is the
same alone and next to others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import torch

from featstore import InputError, Store
from featstore.format.rows import MappedRows
from pipeline.system.processes import call_in_processes, tell
from pipeline.train.data.feed import free_memory
from pipeline.train.learner import device_of
from pipeline.train.recipes.load import Recipe
from pipeline.train.recipes.portfolio import Portfolio
from pipeline.types import Log

# Trains one run: store, folder, seed, log.
Trainer = Callable[[Store, Path, int, Log], object]
Run = tuple[Store, Path, int]

TRAIN = "pipeline.train.workers:train_in_worker"
OPTION = "--processes"
FEW_STEPS = 200  # take less time than a process needs to start


def train_runs(runs: Sequence[Run], trainer: Trainer, workers: int, log: Log) -> None:
    """Train runs one after another, or several at once in processes.

    Parameters
    ----------
    runs : sequence of (Store, Path, int)
        Store, folder and seed.
    trainer : callable
        See `Trainer`; pickled for processes.
    workers : int
        Runs at a time.
    log : callable
        Takes the lines of all runs; of several at once, each after the name of its folder.

    Raises
    ------
    FeatstoreError
        From `trainer`. Other runs end, and can be resumed.
    InputError
        If a process is killed.
    """
    workers = min(workers, len(runs))
    if workers < 2:
        for number, (store, folder, seed) in enumerate(runs, start=1):
            log(f"run {number} of {len(runs)}: {folder}")
            trainer(store, folder, seed, log)
        return
    log(f"{len(runs)} runs, {workers} at a time")
    jobs = ((trainer, *run) for run in runs)
    with closing(call_in_processes(TRAIN, jobs, workers, option=OPTION, log=log)) as finished:
        for _ in finished:
            pass


def train_in_worker(job: tuple[Trainer, Store, Path, int]) -> None:
    """Train a run in a worker process."""
    trainer, store, folder, seed = job
    torch.set_num_threads(1)
    try:
        trainer(store, folder, seed, partial(_tell, folder.name))
    except InputError as error:
        raise InputError(f"{folder.name}: {error}") from None


def _tell(name: str, line: str) -> None:
    tell(f"{name}  {line}")


def runs_at_once(runs: Sequence[Run], recipe: Recipe | Portfolio, device: str) -> int:
    """Return how many runs to train at once by default; see `processes_for`.

    Parameters
    ----------
    runs : sequence of (Store, Path, int)
        Those that are not trained yet.
    recipe : Recipe or Portfolio
    device : str
    """
    stores = [store for store, _, _ in runs]
    recipes = recipe.recipes if isinstance(recipe, Portfolio) else (recipe,)
    clips = min((len(store.split("train")) for store in stores), default=0)
    steps = max(one.train.epochs * math.ceil(clips / one.train.batch_size) for one in recipes)
    return processes_for(stores, device_of(recipes[0], device), trainings=len(runs), steps=steps)


def processes_for(
    stores: Sequence[Store], device: torch.device, *, trainings: int, steps: int
) -> int:
    """Return how many processes should train.

    On a CPU these are as many as torch has threads, if the features that each holds fit into half
    of the free memory. A GPU is not shared, and few steps are trained in this process.

    Parameters
    ----------
    stores : sequence of Store
    device : torch.device
    trainings : int
        Number of trainings.
    steps : int
        That processes would save this process.
    """
    if device.type != "cpu" or steps < FEW_STEPS:
        return 1
    largest = max(_held(store) for store in stores)
    fitting = free_memory(device) // 2 // largest if largest else trainings
    return max(1, min(trainings, torch.get_num_threads(), fitting))


def _held(store: Store) -> int:
    """Return the bytes that a training holds; mapped features are in the page cache."""
    if all(isinstance(member.rows, MappedRows) for member in store.stores):
        return 0
    return int(store.row_size.sum()) * store.dim * 4
