"""Who makes the trials: this process, several on this machine, or workers on Dask.

Each takes tasks one after the other as it has room, so that the next trial can be chosen by what
the last ones have found, and yields outcomes in the order in which they are ready.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

import torch

from featstore import InputError, Store, remote
from pipeline.cluster import Cluster
from pipeline.sweep.trial import Outcome, Task, run

Log = Callable[[str], None]
CALL = "pipeline.sweep.trial:call"


def here(tasks: Iterable[Task], store: Store) -> Iterator[Outcome]:
    """Make trials in this process, on a store that is open."""
    return (run(store, task) for task in tasks)


def in_processes(tasks: Iterable[Task], store: Store, count: int) -> Iterator[Outcome]:
    """Make trials in new processes, each of one thread, that end with this one.

    Raises
    ------
    InputError
        If one of them is killed.
    FeatstoreError
        If one of them cannot read the store.
    """
    waiting, pickled = iter(tasks), pickle.dumps(store)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin) as pool:

        def submit(tasks: Iterable[Task]) -> set[Future[bytes]]:
            jobs = (pickle.dumps((pickled, task)) for task in tasks)
            return {pool.submit(remote.call, CALL, job) for job in jobs}

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


def _begin() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the process that started this one; where it is killed, nobody else would tell."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def on_dask(tasks: Iterable[Task], store: Store, spec: str, log: Log) -> Iterator[Outcome]:
    """Make trials on the workers of a cluster, see `pipeline.cluster.Cluster`."""
    pickled = pickle.dumps(store)
    with Cluster(spec, log) as cluster:
        for _, outcome in cluster.map(CALL, ((pickled, task) for task in tasks)):
            yield outcome
