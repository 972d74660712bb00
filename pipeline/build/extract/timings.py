"""Where the time of a build goes, by stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What runs in threads of its own, beside the others.
BESIDE = ("decode", "preprocess", "backbone")
FRAMES_WAITED, BACKBONE_WAITED, WRITE = "wait for frames", "wait for backbone", "write"


@dataclass(slots=True)
class Timings:
    """Seconds by stage, and what was counted meanwhile.

    Attributes
    ----------
    seconds : dict of str to float
        Of the stages in `BESIDE` the sum over their threads.
    counts : dict of str to int
    """

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, stage: str, since: float) -> float:
        """Add the time since `since` to a stage and return the time now."""
        now = time.perf_counter()
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now

    def count(self, what: str, number: int = 1) -> None:
        """Count `number` more of something."""
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + number

    def clear(self) -> None:
        """Forget all, for the next unit."""
        self.seconds.clear()
        self.counts.clear()


def gather(facts: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add what another process found: counts are added up, of anything else the first stays.

    Examples
    --------
    >>> facts = {"frames_used": 3}
    >>> gather(facts, {"frames_used": 4, "precision_error": None})
    >>> facts
    {'frames_used': 7, 'precision_error': None}
    """
    for name, value in more.items():
        if isinstance(value, int):
            facts[name] = facts.get(name, 0) + value
        else:
            facts.setdefault(name, value)


def bottleneck(seconds: dict[str, Any]) -> str | None:
    """Return the stage that the others waited for.

    Batches are collected in one thread, which waits for frames or for the backbone, or writes what
    is finished. Whichever took most of its time is behind.

    Examples
    --------
    >>> bottleneck({"decode": 9.0, "preprocess": 1.0, "wait for frames": 0.1,
    ...             "wait for backbone": 5.0, "write": 0.2})
    'backbone'
    >>> bottleneck({"decode": 9.0, "preprocess": 1.0, "wait for frames": 5.0, "write": 0.2})
    'decode'
    """
    waits = {stage: seconds.get(stage, 0.0) for stage in (FRAMES_WAITED, BACKBONE_WAITED, WRITE)}
    if not any(waits.values()):
        return None
    longest = max(waits, key=lambda stage: waits[stage])
    if longest == FRAMES_WAITED:
        return max(BESIDE[:2], key=lambda stage: seconds.get(stage, 0.0))
    return "backbone" if longest == BACKBONE_WAITED else WRITE
