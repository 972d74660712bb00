import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.system.interrupts import held_interrupts
from tests.folders import ROOT


@pytest.fixture(autouse=True)
def plain_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), held_interrupts():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        steps.append("went on")
    assert steps == ["went on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_processes_that_start_meanwhile_do_not_see_it() -> None:
    code = "import sys; print('up', flush=True); sys.stdin.readline()"
    with held_interrupts():
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == b"up\n"
        child.send_signal(signal.SIGINT)
        child.stdin.write(b"\n")
        child.stdin.close()
    assert child.returncode == 0


def test_without_an_interrupt_nothing_happens() -> None:
    with held_interrupts():
        pass


def test_processes_of_multiprocessing_do_not_see_it_either() -> None:
    code = """
import signal
from multiprocessing import resource_tracker
from pipeline.system.interrupts import held_interrupts
from tests.folders import ROOT
with held_interrupts():
    resource_tracker.ensure_running()  # as the first process does
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert child.stdout == "True\n"
