"""How much memory is this process's own: what the page cache lends by maps is not counted."""

from __future__ import annotations

import ctypes
import gc
import threading
from pathlib import Path
from types import TracebackType

ROLLUP = Path("/proc/self/smaps_rollup")  # Linux


def private_bytes() -> int:
    """Return the private anonymous memory in bytes; mapped files are not anonymous."""
    return kernel_bytes("Anonymous")


def kernel_bytes(field: str) -> int:
    """Return a field of the kernel's account of this process, such as ``Rss``, in bytes."""
    for line in ROLLUP.read_text("utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{ROLLUP} has no {field}")


class Peak:
    """Samples private memory in a thread while the block runs; needs glibc.

    Attributes
    ----------
    start, peak : int
        Bytes at the beginning, and the most that was seen.
    samples : int
    """

    def __init__(self, interval: float) -> None:
        self._interval, self._ended = interval, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.start = self.peak = self.samples = 0

    def __enter__(self) -> Peak:
        gc.collect()
        # What was freed before and kept for reuse would hide what the block allocates.
        ctypes.CDLL(None).malloc_trim(0)
        self.start = self.peak = private_bytes()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        self.peak = max(self.peak, private_bytes())
        self.samples += 1
