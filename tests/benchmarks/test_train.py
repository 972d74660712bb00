"""The benchmark of training, with a store of few clips."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CODE = """
import sys
from pathlib import Path
from train import STEPS, first_step, made_store
folder = Path(sys.argv[1])
print(first_step(made_store(folder / "clips", 64, STEPS, STEPS), folder))
"""


def test_seconds_to_the_first_step(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    printed = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=BENCHMARKS
    ).stdout
    assert float(printed.splitlines()[-1]) > 0
