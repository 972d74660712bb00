"""Show progress: a bar on a terminal, otherwise one line per minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

SECONDS_BETWEEN_LINES = 60.0


class Progress:
    """Count towards a total, and show frames per second and the remaining time.

    Parameters
    ----------
    title : str
        Name of the task.
    total : int
        Total number of units.
    unit : str
        Plural name of the units.
    log : callable
        Called with each line.
    """

    def __init__(self, title: str, total: int, unit: str, log: Callable[[str], None]) -> None:
        self._title, self._total, self._unit, self._log = title, total, unit, log
        self._done = self._frames = 0
        self._began = self._said = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=title, unit=f" {unit}", leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, done: int, frames: int = 0) -> None:
        """Add `done` units and `frames` frames."""
        self._done += done
        self._frames += frames
        now = time.monotonic()
        rate = self._frames / max(now - self._began, 1e-9)
        if self._bar is not None:
            self._bar.update(done)
            if self._frames:
                self._bar.set_postfix_str(f"{rate:.0f} frames/s", refresh=False)
        elif now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            self._log(self._line(now - self._began, rate))

    def _line(self, elapsed: float, rate: float) -> str:
        share = self._done / max(1, self._total)
        left = elapsed / share - elapsed if share else float("inf")
        speed = f", {rate:.0f} frames/s" if self._frames else ""
        return (
            f"{self._title}: {self._done} of {self._total} {self._unit}{speed}, "
            f"{human_time(left)} left"
        )


def human_time(seconds: float) -> str:
    """Return a duration in its two largest units.

    Examples
    --------
    >>> human_time(12.3), human_time(75), human_time(7260)
    ('12.3 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds == float("inf"):
        return "unknown time"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
