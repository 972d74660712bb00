import multiprocessing
import os
import signal

import pytest

from featstore import BusyError
from featstore.locks import writer_lock


def _hold(path, holding) -> None:
    with writer_lock(path):
        holding.set()
        signal.pause()


def test_lock_excludes_others_and_dies_with_its_process(tmp_path) -> None:
    path = tmp_path / "s.zarr"
    context = multiprocessing.get_context("spawn")
    holding = context.Event()
    process = context.Process(target=_hold, args=(path, holding))
    process.start()
    assert holding.wait(60)
    with pytest.raises(BusyError, match="Another process is building"), writer_lock(path):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with writer_lock(path):
        pass


def test_locks_of_two_stores_do_not_meet(tmp_path) -> None:
    with writer_lock(tmp_path / "a.zarr"), writer_lock(tmp_path / "b.zarr"):
        pass
