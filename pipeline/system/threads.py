"""How the system shares processors among threads."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext, suppress
from threading import Semaphore
from typing import Any


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def computes() -> None:
    """Tell Linux that the calling thread computes and that nobody waits for its answers.

    It then waits for its turn instead of taking the processor of a thread that computes as well,
    whose data it would push out of the caches. Its share of the time stays the same.
    """
    with suppress(AttributeError, OSError):  # another system, or one that forbids it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def turns(threads: int | None) -> AbstractContextManager[Any]:
    """Return what a thread enters to compute, so that no more than `threads` do at once.

    Threads that share a processor take it from each other every few milliseconds, and each finds
    the caches full of another's data: that costs a tenth of the time.

    Parameters
    ----------
    threads : int or None
        None for as many as there are.
    """
    return nullcontext() if threads is None else Semaphore(threads)
