"""Run an iterator in a thread, a bounded number of items ahead of its reader."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from typing import Any, TypeVar

Item = TypeVar("Item")
END = object()


@contextmanager
def read_ahead(items: Iterable[Item], most: int = 8) -> Iterator[Iterator[Item]]:
    """Give an iterator over `items`, produced in a thread that ends with the context.

    Parameters
    ----------
    items : iterable
        An exception that it raises is raised again in the reader.
    most : int
        Items waiting at most.
    """
    queue: Queue[Any] = Queue(most)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                queue.put(item, timeout=0.1)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((END, None))
        except BaseException as error:  # handed to the reader, whatever it is
            put((END, error))

    def consume() -> Iterator[Item]:
        while True:
            item, error = queue.get()
            if error is not None:
                raise error
            if item is END:
                return
            yield item

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join()
