"""How long a sweep of the default recipe takes on a store, and in how much memory.

::

    python benchmarks/sweep.py STORE [--set train.epochs=8] [--trials 100] [--workers 1 2]

Sweeps begin with an empty folder, one after the other, as `featstore sweep` does; starting Python
and the workers counts. Memory is looked at every two seconds, in every process that makes trials:
what is its own (anonymous), where held features are, and the pages of the store that it has mapped,
which are those of the page cache. A process that has only imported what a worker imports is the
measure.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml
from report import machine

import featstore
from pipeline.runs.files import write_yaml
from pipeline.system.progress import human_time
from pipeline.train.recipes import DEFAULT
from pipeline.train.recipes.load import load_recipe

SPACE = {
    "train.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "train.weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
    "train.batch_size": {"choices": [16, 32, 64]},
    "head.dropout": {"low": 0.0, "high": 0.6},
    "augment.noise": {"low": 0.0, "high": 0.3},
    "augment.mixup": {"low": 0.0, "high": 0.4},
}
HIDDEN = {"head.hidden": {"choices": [64, 128, 256]}}  # of heads that have it
SECONDS = 2.0


def makers(pid: int, workers: int) -> list[int]:
    """Return the processes that make trials."""
    if workers == 1:
        return [pid]
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found = [int(own) for own in children]
        return [own for own in found if b"spawn_main" in Path(f"/proc/{own}/cmdline").read_bytes()]
    except OSError:  # one has just ended
        return []


def memory_of(pid: int, store: Path) -> dict[str, int]:
    """Return what the kernel says of a process's memory, in bytes; nothing once it has ended."""
    found: Counter[str] = Counter()
    inside = False
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        name, _, rest = line.partition(":")
        if " " in name:  # the head of a map, with its file
            inside = str(store) in line
        elif name == "Anonymous":
            found["own"] += 1024 * int(rest.split()[0])
        elif name == "Rss" and inside:
            found["mapped"] += 1024 * int(rest.split()[0])
    return dict(found)


def swept(store: Path, out: Path, space: Path, workers: int) -> tuple[float, dict[str, int]]:
    """Run a sweep; return its seconds and the most memory that one of its processes had."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "sweep", str(space)]
    command += ["--store", str(store), "--workers", str(workers), "--out", str(out)]
    most: Counter[str] = Counter()
    began = time.perf_counter()
    child = subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.DEVNULL)
    while child.poll() is None:
        for pid in makers(child.pid, workers):
            most |= Counter(memory_of(pid, store))
        time.sleep(SECONDS)
    assert child.returncode == 0
    return time.perf_counter() - began, dict(most)


def idle() -> dict[str, int]:
    """Return the memory of a process that has imported what a worker imports."""
    code = "import pipeline.sweep.trial, sys; print('.', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        found = memory_of(child.pid, Path("none"))
        child.communicate()
    return found


def main() -> None:
    """Sweep with each number of workers, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--recipe", default=DEFAULT)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    recipe = load_recipe(given.recipe, given.overrides).model_dump()
    store = featstore.open(given.store)
    size = store.layout.steps * store.dim * 4 / 1e6
    parts = ", ".join(f"{len(store.split(part))} {part}" for part in ("train", "val"))
    print(f"python benchmarks/sweep.py {' '.join(sys.argv[1:])}")
    print(f"{machine()}; CPU\n{store.title}: {size:.0f} MB of features; clips: {parts}\n")
    print("| workers | trials | complete, pruned, failed | time | trials a minute | best on val "
          "| own memory, MB | pages of the store, MB |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    before = idle()
    print(f"| none, imports only | | | | | | {before['own'] / 1e6:.0f} | |", flush=True)
    for workers in given.workers:
        with tempfile.TemporaryDirectory() as name:
            space, base, out = (Path(name, own) for own in ("space.yaml", "recipe.yaml", "out"))
            write_yaml(base, recipe)
            fields = SPACE | (HIDDEN if "hidden" in recipe["head"] else {})
            wanted = {"recipe": str(base), "trials": given.trials, "space": fields}
            space.write_text(yaml.safe_dump(wanted), "utf-8")
            seconds, most = swept(given.store.absolute(), out, space, workers)
            with (out / "trials.csv").open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        states = Counter(row["state"] for row in rows)
        counts = ", ".join(str(states[state]) for state in ("complete", "pruned", "fail"))
        column = next(name for name in rows[0] if name.startswith("val_"))
        scores = [float(row[column]) for row in rows if row["state"] == "complete"]
        best = min(scores) if column == "val_loss" else max(scores)
        print(f"| {workers} | {len(rows)} | {counts} | {human_time(seconds)} "
              f"| {60 * len(rows) / seconds:.1f} | {best:.3f} | {most['own'] / 1e6:.0f} "
              f"| {most.get('mapped', 0) / 1e6:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
