"""How much faster a second training is than building and training.

Give it the flags of ``featstore build``; it builds into a new, temporary folder of stores, trains
twice, and prints the ratio::

    python benchmarks/retrain.py --data demo/data --fps 5 --size 128 --weights random
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(*arguments: str) -> float:
    """Run a featstore command and return how long it took."""
    command = Path(sys.executable).with_name("featstore")
    began = time.perf_counter()
    subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Build, train twice, print the ratio."""
    flags = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        store, runs = f"{folder}/features", f"{folder}/runs"
        recipe = ("--recipe", "tcn")
        build = seconds("build", *flags, "--stores", store)
        first = seconds("train", "--stores", store, *recipe, "--out", f"{runs}/first")
        again = seconds("train", "--stores", store, *recipe, "--out", f"{runs}/again")
    print(f"python benchmarks/retrain.py {' '.join(flags)}")
    print(f"{platform.machine()}, {os.cpu_count()} processors")
    print(f"build {build:.1f} s, train {first:.1f} s, train again {again:.1f} s")
    print(f"training again is {(build + first) / again:.1f} times as fast as build and train")


if __name__ == "__main__":
    main()
