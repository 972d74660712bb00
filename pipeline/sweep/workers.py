"""Run trials in this process, in several processes on this machine, or on Dask workers.

Each function takes a task whenever a worker is free, so the next trial can use the latest outcomes.
Outcomes are yielded in the order of completion.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterable

import torch

from featstore import Store
from pipeline.system.dask_cluster import Cluster
from pipeline.system.processes import call_in_processes
from pipeline.train.trial import Outcome, Task, call, run
from pipeline.types import Log

CALL = "pipeline.train.trial:call"
CALL_ON_ONE_THREAD = "pipeline.sweep.workers:call_on_one_thread"


def here(tasks: Iterable[Task], store: Store) -> Generator[Outcome, None, None]:
    """Return the outcomes of trials that run in this process on an open store."""
    return (run(store, task) for task in tasks)


def in_processes(tasks: Iterable[Task], store: Store, count: int) -> Generator[Outcome, None, None]:
    """Return the outcomes of trials in new single-threaded processes, which end with this one.

    Raises
    ------
    InputError
        If a worker is killed.
    FeatstoreError
        If a worker cannot read the store.
    """
    pickled = pickle.dumps(store)
    return call_in_processes(CALL_ON_ONE_THREAD, ((pickled, task) for task in tasks), count)


def call_on_one_thread(job: tuple[bytes, Task]) -> Outcome:
    """Run a trial in a worker process that shares its machine with others."""
    torch.set_num_threads(1)
    return call(job)


def on_dask(
    tasks: Iterable[Task], store: Store, spec: str, log: Log
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of trials on a cluster; see `pipeline.system.dask_cluster.Cluster`."""
    pickled = pickle.dumps(store)
    with Cluster(spec, log) as cluster:
        for _, outcome in cluster.map(CALL, ((pickled, task) for task in tasks)):
            yield outcome
