"""Code in a process of its own that may open few files."""

import subprocess
import sys

from tests.folders import ROOT


def run_with_few_files(limit: int, code: str) -> str:
    """Run code under ``ulimit -n`` and return what it prints; warnings are errors in it."""
    start = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))\n"
    command = [sys.executable, "-W", "error", "-c", start.format(limit) + code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout
