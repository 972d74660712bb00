"""Delay Ctrl-C while starting processes that must not receive it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Delay interrupts until the block ends, and block them in processes started in it.

    A terminal interrupts a whole process group. Threads and processes that start in the block have
    the signal blocked, so only this process handles it, and it ends the others.

    Raises
    ------
    KeyboardInterrupt
        At the end of the block, if it was interrupted.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    # Starting multiprocessing's resource tracker unblocks the signal in the thread that does it.
    resource_tracker.ensure_running()
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    # Not the mask alone: a thread of another library may receive the signal.
    before = signal.signal(signal.SIGINT, note)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt
