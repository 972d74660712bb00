"""Start worker processes that end with their parent process, and call functions in them.

This module imports nothing heavy: a worker watches its parent before it loads its work.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.queues import SimpleQueue
from typing import Any

from featstore import remote
from featstore.errors import InputError
from pipeline.system.interrupts import held_interrupts

SECONDS = 0.2  # between looks at what workers log

_lines: SimpleQueue[str] | None = None  # of a worker, to its parent


@contextmanager
def worker_processes(
    count: int, lines: SimpleQueue[str] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Yield new processes; kill them if the block raises or this process dies.

    They are spawned, not forked: a fork of a process with threads (torch, PyAV) could copy a held
    lock.

    Parameters
    ----------
    count : int
    lines : SimpleQueue, optional
        Takes the lines that the processes `tell`.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_begin, initargs=(lines,)
    ) as pool:
        try:
            yield pool
        except BaseException:  # also an interrupt: do not wait for running work
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def call_in_processes(
    target: str,
    arguments: Iterable[Any],
    count: int,
    *,
    option: str = "--workers",
    log: Callable[[str], None] = lambda line: None,
) -> Generator[Any, None, None]:
    """Yield a function's results for some arguments, in the order of completion.

    The next argument is taken when a process is free. The processes never receive Ctrl-C: this
    process does, and kills them.

    Parameters
    ----------
    target : str
        ``package.module:function``, see `featstore.remote.call`.
    arguments : iterable
        Of one argument a call; pickled.
    count : int
        Number of processes.
    option : str
        The option that sets it, for messages.
    log : callable
        Takes the lines that the function gives to `tell`.

    Raises
    ------
    FeatstoreError
        From the function. The other processes are killed.
    InputError
        If a process is killed.
    """
    waiting = iter(arguments)
    lines: SimpleQueue[str] = multiprocessing.get_context("spawn").SimpleQueue()
    with worker_processes(count, lines) as pool:

        def submit(limit: int) -> set[Future[bytes]]:
            jobs = [pickle.dumps(argument) for argument in islice(waiting, limit)]
            with held_interrupts():
                return {pool.submit(remote.call, target, job) for job in jobs}

        try:
            running = submit(count)
            while running:
                done, running = wait(running, timeout=SECONDS, return_when=FIRST_COMPLETED)
                answers = [future.result() for future in done]
                while not lines.empty():
                    log(lines.get())
                for answer in answers:
                    yield remote.result(answer)
                    running |= submit(1)
        except BrokenProcessPool:
            raise InputError(
                "a worker process was killed, possibly out of memory; run the same command with "
                f"fewer {option} than {count} to resume"
            ) from None


def tell(line: str) -> None:
    """Give a line to the log of the parent process; in a worker process."""
    if _lines is not None:
        _lines.put(line)


def _begin(lines: SimpleQueue[str] | None) -> None:
    global _lines
    _lines = lines
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process ends, even if it is killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
