"""Kernel locks on files; the kernel releases them when their process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featstore.errors import BusyError, InputError


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
    InputError
        If the lock's path is a link or a folder.
    """
    descriptor = open_lock(lock_path(root, key))
    try:
        if not try_lock(descriptor):
            raise BusyError(
                f"Another process is building the store {key[:12]} in {root}; wait for it, then "
                "run the same command again, which finds the finished store."
            )
        yield
    finally:
        os.close(descriptor)


def is_held(root: Path, key: str) -> bool:
    """Tell whether a process holds the lock of a key; never creates the file."""
    try:
        # A shared lock needs only read access, which another user's file may allow.
        descriptor = open_lock(lock_path(root, key), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def lock_path(root: Path, key: str) -> Path:
    """Return the path of the lock of a store key."""
    return root / f".{key[:12]}.lock"


def open_lock(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Return a descriptor of a lock file; its content is not changed.

    Parameters
    ----------
    path : Path
        Not followed if it is a link: anybody with write access could have put one at this
        predictable name.
    flags : int
        Reading and writing by default: NFS grants exclusive locks only on such descriptors.

    Raises
    ------
    InputError
        If the path is not a regular file.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise _no_lock(path) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_lock(path)
    return descriptor


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take a lock until the descriptor is closed; return False if another process has it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _no_lock(path: Path) -> InputError:
    return InputError(
        f"{path} should be a lock file, but is not a regular file; inspect it and remove it."
    )
