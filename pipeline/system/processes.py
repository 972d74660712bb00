"""Start worker processes that end with their parent process.

This module imports nothing heavy: a worker watches its parent before it loads its work.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def worker_processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Yield new processes; kill them if the block raises or this process dies.

    They are spawned, not forked: a fork of a process with threads (torch, PyAV) could copy a held
    lock.

    Parameters
    ----------
    count : int
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_watch_parent) as pool:
        try:
            yield pool
        except BaseException:  # also an interrupt: do not wait for running work
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process ends, even if it is killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
