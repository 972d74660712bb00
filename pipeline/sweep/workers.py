"""Who makes the trials: this process, several on this machine, or workers on Dask.

Each takes tasks one after the other as it has room, so that the next trial can be chosen by what
the last ones have found, and yields outcomes in the order in which they are ready.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

import torch

from featstore import InputError, Store, remote
from pipeline.sweep.trial import Outcome, Task, call, run
from pipeline.system.dask_cluster import Cluster
from pipeline.system.processes import worker_processes
from pipeline.types import Log

CALL = "pipeline.sweep.trial:call"
CALL_ON_ONE_THREAD = "pipeline.sweep.workers:call_on_one_thread"


def here(tasks: Iterable[Task], store: Store) -> Generator[Outcome, None, None]:
    """Make trials in this process, on a store that is open."""
    return (run(store, task) for task in tasks)


def in_processes(tasks: Iterable[Task], store: Store, count: int) -> Generator[Outcome, None, None]:
    """Make trials in new processes, each of one thread, that end with this one.

    Raises
    ------
    InputError
        If one of them is killed.
    FeatstoreError
        If one of them cannot read the store.
    """
    waiting, pickled = iter(tasks), pickle.dumps(store)
    with worker_processes(count) as pool:

        def submit(tasks: Iterable[Task]) -> set[Future[bytes]]:
            jobs = (pickle.dumps((pickled, task)) for task in tasks)
            return {pool.submit(remote.call, CALL_ON_ONE_THREAD, job) for job in jobs}

        try:
            running = submit(islice(waiting, count))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield remote.result(future.result())
                    running |= submit(islice(waiting, 1))
        except BrokenProcessPool:
            raise InputError(
                "a worker process was killed, perhaps for want of memory; run the same command "
                f"with fewer --workers than {count}: it goes on"
            ) from None


def call_on_one_thread(job: tuple[bytes, Task]) -> Outcome:
    """Make a trial in a worker process that shares its machine with others."""
    torch.set_num_threads(1)
    return call(job)


def on_dask(
    tasks: Iterable[Task], store: Store, spec: str, log: Log
) -> Generator[Outcome, None, None]:
    """Make trials on the workers of a cluster, see `pipeline.system.dask_cluster.Cluster`."""
    pickled = pickle.dumps(store)
    with Cluster(spec, log) as cluster:
        for _, outcome in cluster.map(CALL, ((pickled, task) for task in tasks)):
            yield outcome
