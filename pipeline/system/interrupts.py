"""Ctrl-C, held back while processes start that must not see it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Hold an interrupt back until the block ends, and start processes that never see one.

    A terminal interrupts a whole group of processes. Threads and processes that start in the block
    have the signal blocked, so only this process ends, and ends the others.

    Raises
    ------
    KeyboardInterrupt
        At the end of the block, if it was interrupted.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = signal.signal(signal.SIGINT, note)  # a thread of another library may take the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt
