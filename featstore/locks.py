"""One writer a store, by a kernel lock, which dies with its process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featstore.errors import BusyError


@contextmanager
def writer_lock(root: Path, key: str) -> Iterator[None]:
    """Hold the lock for writing the store of one key; readers need none.

    Parameters
    ----------
    root : Path
        The folder of stores.
    key : str
        The store key.

    Raises
    ------
    BusyError
        If another process holds it.
    """
    with (root / f".{key[:12]}.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"Another process is building the store {key[:12]} in {root}; wait for it, then "
                "run the same command again: it will find the finished store."
            ) from None
        yield
