import fcntl
import multiprocessing
import os
import signal

import pytest

from featstore import BusyError, InputError
from featstore.writing.locks import is_held, lock_path, open_lock, writer_lock

KEY = "ab" * 32


def _hold(root, holding) -> None:
    with writer_lock(root, KEY):
        holding.set()
        signal.pause()


def test_lock_excludes_others_and_dies_with_its_process(tmp_path) -> None:
    context = multiprocessing.get_context("spawn")
    holding = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, holding))
    process.start()
    assert holding.wait(60)
    with pytest.raises(BusyError, match="Another process is building"), writer_lock(tmp_path, KEY):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with writer_lock(tmp_path, KEY):
        pass


def test_locks_of_two_stores_do_not_meet(tmp_path) -> None:
    with writer_lock(tmp_path, KEY), writer_lock(tmp_path, "cd" * 32):
        pass


@pytest.mark.parametrize("take", ["lock", "look"])
def test_a_lock_follows_no_link(tmp_path, take: str) -> None:
    other = tmp_path / "thesis.txt"
    other.write_text("my thesis")
    lock_path(tmp_path, KEY).symlink_to(other)
    with pytest.raises(InputError, match=r"\.abab.*\.lock .*remove it"):
        is_held(tmp_path, KEY) if take == "look" else writer_lock(tmp_path, KEY).__enter__()
    assert other.read_text() == "my thesis"


def test_a_lock_file_keeps_its_content(tmp_path) -> None:
    lock_path(tmp_path, KEY).write_text("kept")
    with writer_lock(tmp_path, KEY):
        assert is_held(tmp_path, KEY)
    assert not is_held(tmp_path, KEY)
    assert lock_path(tmp_path, KEY).read_text() == "kept"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_lock_is_a_file(tmp_path, make) -> None:
    make(lock_path(tmp_path, KEY))
    with pytest.raises(InputError, match="should be a lock"), writer_lock(tmp_path, KEY):
        pass


def test_a_lock_is_opened_for_writing(tmp_path) -> None:
    descriptor = open_lock(tmp_path / "lock")
    try:
        # Over NFS, an exclusive lock on a descriptor for reading only fails with EBADF.
        assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    finally:
        os.close(descriptor)
