"""Several seeds of a recipe at once, against one seed, by the command `featstore train`.

::

    python benchmarks/seeds.py [--recipes tcn bilstm] [--seeds 4] [--epochs 10] [--clips 1600]

For each recipe, `featstore train --seeds N` trains as it does by default, and one seed alone, with
the threads that it chooses and with one. The clips have 16 steps x 512. Ratios are to N times one
seed. Whole commands are timed, from their start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import machine
from train import made_store

COMMAND = [sys.executable, "-c", "from pipeline.cli import main; main()", "train"]


def seconds_of(store: Path, out: Path, recipe: str, epochs: int, *more: str, one: bool) -> float:
    """Return the seconds of a command."""
    flags = ["--store", str(store), "--recipe", recipe, "--set", f"train.epochs={epochs}"]
    flags += ["--set", "train.patience=null", "--device", "cpu", "--out", str(out), *more]
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if one else {})
    began = time.perf_counter()
    subprocess.run([*COMMAND, *flags], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - began


def same_weights(one: Path, other: Path) -> bool:
    """Tell whether two runs have the same weights, bit for bit."""
    return len({(run / "weights.safetensors").read_bytes() for run in (one, other)}) == 1


def main() -> None:
    """Time the commands and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=["tcn", "bilstm"])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--clips", type=int, default=1600)
    options = parser.parse_args()
    print(f"python benchmarks/seeds.py {' '.join(sys.argv[1:])}\n{machine()}; CPU\n")
    count = options.seeds
    print(f"| recipe | one seed, one thread | one seed | {count} seeds | of {count} times one, "
          "one thread | of one | same weights |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Path(made_store(folder / "clips", options.clips, 16, 16).path)
        for recipe in options.recipes:
            outs = [folder / f"{recipe}-{kind}" for kind in ("thread", "one", "all")]
            several = ("--seeds", str(count))
            thread = seconds_of(store, outs[0], recipe, options.epochs, one=True)
            one = seconds_of(store, outs[1], recipe, options.epochs, one=False)
            every = seconds_of(store, outs[2], recipe, options.epochs, *several, one=False)
            same = same_weights(outs[0], outs[1]) and same_weights(outs[0], outs[2] / "seed0")
            shares = (every / count / alone for alone in (thread, one))
            print(f"| `{recipe}` | {thread:.1f} s | {one:.1f} s | {every:.1f} s | "
                  + " | ".join(f"{share:.2f}" for share in shares)
                  + f" | {'yes' if same else 'no'} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
