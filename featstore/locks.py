"""One writer a store, by a kernel lock, which dies with its process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featstore.errors import BusyError


@contextmanager
def writer_lock(store: Path) -> Iterator[None]:
    """Hold the lock for writing the store at `store`; readers need none.

    Raises
    ------
    BusyError
        If another process holds it.
    """
    path = store.with_name(f".{store.name}.lock")
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"Another process is building {store}; wait for it, then run the same command "
                "again: it will find the finished store."
            ) from None
        yield
