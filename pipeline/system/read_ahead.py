"""Run iterators in threads, a limited number of items ahead of a single reader."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from typing import Any, Generic, TypeVar

from pipeline.system.threads import computes

Item = TypeVar("Item")
END = object()
SECONDS_BETWEEN_LOOKS = 0.1


@contextmanager
def read_ahead(
    streams: Iterable[Iterable[Item]], *, threads: int = 1, most: int = 2
) -> Iterator[Iterator[Item]]:
    """Return one iterator over the items of all streams, in order, produced in threads.

    Parameters
    ----------
    streams : iterable of iterables
        Each runs in a separate thread. The reader raises the exception of a stream after the items
        before it.
    threads : int
        Number of streams to run at once.
    most : int
        Most buffered items per stream.
    """
    stop = threading.Event()
    running: deque[_Runner[Item]] = deque()
    source = iter(streams)

    def start() -> None:
        for stream in source:
            running.append(_Runner(stream, most, stop))
            if len(running) >= threads:
                return

    def items() -> Iterator[Item]:
        start()
        while running:
            yield from running[0].items()
            running.popleft()
            start()

    try:
        yield items()
    finally:
        stop.set()
        for runner in running:
            runner.thread.join()


class _Runner(Generic[Item]):
    """One stream in a thread, with a queue of its items."""

    def __init__(self, stream: Iterable[Item], most: int, stop: threading.Event) -> None:
        self._stream, self._stop = stream, stop
        self._queue: Queue[Any] = Queue(most)
        self.thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self.thread.start()

    def items(self) -> Iterator[Item]:
        while True:
            item, error = self._queue.get()
            if error is not None:
                raise error
            if item is END:
                return
            yield item

    def _run(self) -> None:
        computes()
        try:
            for item in self._stream:
                if not self._put((item, None)):
                    return
            self._put((END, None))
        except BaseException as error:  # raised again in the reader
            self._put((END, error))

    def _put(self, item: Any) -> bool:
        """Put an item when there is room; return False if the reader has stopped."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=SECONDS_BETWEEN_LOOKS)
            except Full:
                continue
            return True
        return False
