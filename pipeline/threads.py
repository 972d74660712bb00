"""How the system shares processors among threads."""

from __future__ import annotations

import os
from contextlib import suppress


def computes() -> None:
    """Tell Linux that the calling thread computes and that nobody waits for its answers.

    It then waits for its turn instead of taking the processor of a thread that computes as well,
    whose data it would push out of the caches. Its share of the time stays the same.
    """
    with suppress(AttributeError, OSError):  # another system, or one that forbids it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
