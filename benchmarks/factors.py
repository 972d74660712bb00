"""What each choice of a recipe is worth: every variant on every split with every seed.

::

    python benchmarks/factors.py --store FEATURES [--splits 0,1,2] [--seeds 3] [--jobs 2]

Trains the variants of `factors.yaml` with ``featstore train``, each run in one thread and several
at once, prints the commands, and then a table of test scores with the difference to the first
variant: a paired bootstrap over the subjects of all splits. What is trained already is not trained
again.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from pipeline.compare_runs import Difference, difference, read_group
from pipeline.protocol import read_summary

HERE = Path(__file__).parent
SAYS = {"yes": "yes", "here": "on these people", "no": "no"}


def variants(path: Path) -> dict[str, list[str]]:
    """Return the flags of every variant by its name."""
    first, *others = yaml.safe_load(path.read_text("utf-8"))
    flags = {}
    for own in (first, *others):
        fields = [*first["set"], *(own["set"] if own is not first and "set" in own else [])]
        recipe = own.get("recipe", first["recipe"])
        kept = {field.partition("=")[0]: field for field in fields}.values()
        flags[own["name"]] = ["--recipe", recipe, *(f"--set={field}" for field in kept)]
    return flags


def train(name: str, flags: list[str], options: argparse.Namespace) -> Path:
    """Train one variant and return the folder of its runs."""
    out = options.out / name.replace(",", "").replace(" ", "-")
    given = ["--store", options.store, "--splits", options.splits, "--seeds", str(options.seeds)]
    command = ["train", *given, *flags, "--out", str(out)]
    print(shlex.join(["featstore", *command]), flush=True)
    call = "from pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", call, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return out


def row(name: str, out: Path, base: Path) -> str:
    """Return a variant's line of the table."""
    summary = read_summary(out)
    top1, classes = (summary["scores"]["test"][key] for key in ("top1", "mean_class_accuracy"))
    by_split = " / ".join(f"{own['test']['top1']['mean']:.3f}" for own in summary["splits"])
    seconds = sum(run["seconds"] for run in summary["runs"]) / len(summary["runs"])
    cells = [name, _spread(top1), by_split, _spread(classes), f"{seconds:.0f}"]
    if out != base:
        found = difference(read_group(str(base), "test"), read_group(str(out), "test"))
        cells += [_interval(found), SAYS[found.holds("top1")]]
    else:
        cells += ["", ""]
    return f"| {' | '.join(cells)} |"


def _spread(score: dict[str, Any]) -> str:
    std = "" if score["std"] is None else f" ± {score['std']:.3f}"
    return f"{score['mean']:.3f}{std}"


def _interval(found: Difference) -> str:
    own = found.scores["top1"]
    low, high = own["subjects"] or own["clips"]
    return f"{own['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", required=True, help="a store, or a folder of stores")
    parser.add_argument("--variants", type=Path, default=HERE / "factors.yaml")
    parser.add_argument("--splits", default="0,1,2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path("runs/factors"))
    options = parser.parse_args()
    named = variants(options.variants)
    with ThreadPoolExecutor(options.jobs) as pool:
        outs = list(pool.map(lambda own: train(*own, options), named.items()))
    print("\n| variant | top-1 | by split | mean per class | s | difference of top-1 | holds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, out in zip(named, outs, strict=True):
        print(row(name, out, outs[0]))


if __name__ == "__main__":
    main()
