"""Worker processes that end with the process that started them.

This module imports nothing heavy: a worker watches its parent before it loads its own work.
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
    """Yield new processes, which are killed where the block raises or this process dies.

    They are spawned and not forked: a caller with threads (torch, PyAV) must not be copied while
    one of them holds a lock.

    Parameters
    ----------
    count : int
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_watch_parent) as pool:
        try:
            yield pool
        except BaseException:  # also an interrupt: what they are at would else be waited for
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the process that started this one; where it is killed, nobody else would tell."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
