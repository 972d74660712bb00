"""Processes that are killed in the middle of their work."""

import os
import signal
import subprocess
import sys

from tests.folders import ROOT


def killed_when(line: str, program: str, *arguments: object) -> None:
    """Run a Python program that is killed as soon as it prints a line that begins so."""
    child = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert child.stdout is not None
    with child.stdout:
        assert any(said.startswith(line) for said in child.stdout)
        os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
