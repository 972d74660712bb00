"""Find the videos that crash, hang or exhaust the memory: retry each in its own process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from featstore.errors import InputError
from featstore.writing.locks import open_lock, try_lock
from pipeline.video.journal import HANG_SECONDS, SLOT

NO_MEMORY = 3  # exit code
TRIED_FRAMES = 64
Attempt = Callable[[Path, int], None]


def crashes(
    folder: Path, attempt: Attempt | None = None, seconds: float = HANG_SECONDS
) -> dict[Path, str]:
    """Return the videos that were being decoded when a process died and fail again, and why.

    Parameters
    ----------
    folder : Path
        Folder of the journals.
    attempt : callable
        Called in another process with a video and a frame; decodes the video by default.
    seconds : float
        Time limit of an attempt.
    """
    crashed: dict[Path, str] = {}
    for journal in sorted(folder.glob("*.journal")):
        with suppress(PermissionError):
            crashed |= _failing(journal, attempt or _decode, seconds)
    return crashed


def _failing(journal: Path, attempt: Attempt, seconds: float) -> dict[Path, str]:
    """Return the failing videos of a journal; none if its process is alive."""
    descriptor = open_lock(journal)
    try:
        if not try_lock(descriptor):
            return {}
        entries = dict(_entries(journal.read_bytes()))
        tried = {path: _try(path, frame, attempt, seconds) for path, frame in entries.items()}
        failing = {path: reason for path, reason in tried.items() if reason}
        if not failing:
            journal.unlink(missing_ok=True)
            with suppress(OSError):  # other journals are in it
                journal.parent.rmdir()
        return failing
    finally:
        os.close(descriptor)


def _entries(content: bytes) -> Iterator[tuple[Path, int]]:
    for start in range(0, len(content), SLOT):
        frame, _, rest = content[start : start + SLOT].partition(b"\0")
        if frame:
            yield Path(os.fsdecode(rest.partition(b"\0")[0])), int(frame)


def _try(path: Path, frame: int, attempt: Attempt, seconds: float) -> str:
    """Return why a video fails in a separate process; empty if it does not."""
    process = get_context("spawn").Process(target=attempt, args=(path, frame), daemon=True)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return f"its decoder returned no frame for {seconds:g} s"
    if process.exitcode == NO_MEMORY:
        return "decoding it takes more memory than there is"
    code = process.exitcode or 0
    return f"its decoder crashed ({signal.Signals(-code).name})" if code < 0 else ""


def _decode(path: Path, frame: int) -> None:
    """Repeat the work during which the process died."""
    from pipeline.video.decode import decode_all
    from pipeline.video.index import read_index

    with suppress(InputError, OSError):
        try:
            index = read_index(path)
            frames = np.arange(max(0, frame), min(len(index), frame + TRIED_FRAMES))
            for _ in decode_all(path, index, frames, "rgb"):
                pass
        except MemoryError:
            os._exit(NO_MEMORY)
