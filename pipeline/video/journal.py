"""Record which videos are being decoded, in a file that survives a crash of the decoder.

A process that dies inside FFmpeg cannot say why. The next process reads the journal, retries each
video in a separate process, and refuses those that crash, hang or run out of memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from featstore.writing.locks import try_lock
from pipeline.types import Log

SLOT, SLOTS = 4096, 64  # bytes, and threads
HANG_SECONDS = 600.0
Judged = tuple[int, Any, bool]


class Journal:
    """The videos that the threads of this process are decoding.

    Parameters
    ----------
    folder : Path
        Folder of the journals of all processes.
    """

    def __init__(self, folder: Path) -> None:
        self._slots = threading.local()
        self._free = list(range(SLOTS))
        self._since: dict[int, tuple[float, bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor, name = tempfile.mkstemp(".journal", dir=folder)
        self._path = Path(name)
        try_lock(self._descriptor)
        os.ftruncate(self._descriptor, SLOT * SLOTS)
        self._map = mmap.mmap(self._descriptor, SLOT * SLOTS)

    def begin(self, name: bytes, frame: int) -> None:
        """Record that this thread decodes a frame, or reads the index if `frame` is -1.

        Parameters
        ----------
        name : bytes
            The absolute path of the video.
        frame : int
        """
        entry = b"%d\0%s\0" % (frame, name)
        slot = self._slot()
        if slot >= 0 and len(entry) <= SLOT:
            start = slot * SLOT
            self._map[start : start + len(entry)] = entry
            self._since[slot] = time.monotonic(), name

    def end(self) -> None:
        """Record that this thread is idle."""
        slot = self._slot()
        if slot >= 0:
            self._map[slot * SLOT] = 0
            self._since.pop(slot, None)

    def _slot(self) -> int:
        try:
            return int(self._slots.number)
        except AttributeError:
            self._slots.number = self._free.pop() if self._free else -1
            return int(self._slots.number)

    def stalled(self, seconds: float) -> Path | None:
        """Return a video that has returned no frame for `seconds`, if any."""
        limit = time.monotonic() - seconds
        old = (name for since, name in list(self._since.values()) if since < limit)
        return next((Path(os.fsdecode(name)) for name in old), None)

    def close(self) -> None:
        """Remove the journal at the normal end of a process."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        with suppress(OSError):  # other journals are in it
            self._path.parent.rmdir()


_current: Journal | None = None


@contextmanager
def keep_journal(folder: Path, log: Log, seconds: float = HANG_SECONDS) -> Iterator[None]:
    """Keep a journal, and end the process if a decoder returns nothing for `seconds`.

    Without write access to the folder, there is no journal.
    """
    global _current
    try:
        journal = Journal(folder)
    except OSError:
        yield
        return
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(journal, done, log, seconds), daemon=True)
    watch.start()
    _current = journal
    try:
        yield
    finally:
        _current = None
        done.set()
        watch.join()
        journal.close()


def _watch(journal: Journal, done: threading.Event, log: Log, seconds: float) -> None:
    while not done.wait(min(10.0, seconds / 4)):
        if path := journal.stalled(seconds):
            log(
                f"{path} has returned no frame for {seconds:g} s, so the process ends; run the "
                "same command again, which tries this video separately."
            )
            os._exit(1)


@contextmanager
def at_work(path: Path, frame: int = -1) -> Iterator[None]:
    """Record that this thread decodes a video."""
    journal = _current
    if journal is None:
        yield
        return
    journal.begin(os.fsencode(path.absolute()), frame)
    try:
        yield
    finally:
        journal.end()


def noted(path: Path, first: int, frames: Iterator[Judged]) -> Iterator[Judged]:
    """Yield the frames of a decoder; while it works, record the number of the next frame."""
    if (journal := _current) is None:
        yield from frames
        return
    name, due = os.fsencode(path.absolute()), first
    while True:
        journal.begin(name, due)
        try:
            frame = next(frames, None)
        finally:
            journal.end()
        if frame is None:
            return
        yield frame
        due = max(due, frame[0])
