import multiprocessing
import os
import signal

import pytest

from featstore import BusyError
from featstore.locks import writer_lock

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
