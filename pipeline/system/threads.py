"""Control how threads share the processors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from threading import Semaphore
from typing import Any


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def computes() -> None:
    """Schedule the calling thread as batch work (SCHED_BATCH).

    It then waits for its turn instead of preempting another computing thread and evicting its data
    from the caches. Its share of the time stays the same.
    """
    with suppress(AttributeError, OSError):  # not Linux, or not permitted
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextmanager
def one_thread() -> Iterator[int]:
    """Let torch compute with one thread in the block, and yield the number that it had.

    The bits of many results depend on the number of threads.
    """
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield count
    finally:
        torch.set_num_threads(count)


def turns(threads: int | None) -> AbstractContextManager[Any]:
    """Return a context manager that lets at most `threads` threads compute at once.

    Threads that share a processor preempt each other every few milliseconds and evict each other's
    data from the caches, which costs a tenth of the time.

    Parameters
    ----------
    threads : int or None
        None for no limit.
    """
    return nullcontext() if threads is None else Semaphore(threads)
