"""What each choice of a recipe is worth: every variant on every split with every seed.

::

    python benchmarks/factors.py --store FEATURES [--store NAME=OTHER ...] [--variants FILE]
        [--only VARIANT ...]

Trains the variants of `factors.yaml` with ``featstore train``, each run in one thread and several
at once, prints the commands, and then a table of test scores with the difference to the first
variant, or to the one that a variant names as its base: a paired bootstrap over the runs and the
subjects of all splits, and a p value corrected for how many variants have that base (Holm). What is
trained already is not trained again, so variants may be added.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.runs.compare import Difference, compare, read_group
from pipeline.train.seeds import read_summary

HERE = Path(__file__).parent
SAYS = {"yes": "yes", "here": "on these people", "no": "no"}


@dataclass(frozen=True)
class Variant:
    """What is trained: the flags of ``featstore train``, and what it is compared with."""

    name: str
    flags: list[str]
    base: str


def folder_of(name: str, out: Path) -> Path:
    """Return where the runs of a variant lie."""
    return out / name.replace(",", "").replace(" ", "-")


def variants(path: Path, stores: dict[str, str]) -> list[Variant]:
    """Return the variants of a file that are of these stores; the first one has no base."""
    first, *others = yaml.safe_load(path.read_text("utf-8"))
    found = []
    for own in (first, *others):
        if any(name not in stores for name in own.get("stores", [""])):
            continue
        fields = [*first["set"], *(own["set"] if own is not first and "set" in own else [])]
        kept = {field.partition("=")[0]: field for field in fields}.values()
        flags = ["--recipe", own.get("recipe", first["recipe"]), *(f"--set={f}" for f in kept)]
        for name in own.get("stores", [""]):
            flags += ["--store", stores[name]]
        base = "" if own is first else own.get("base", first["name"])
        found.append(Variant(own["name"], flags, base))
    return found


def train(variant: Variant, options: argparse.Namespace) -> None:
    """Train one variant on all splits with all seeds."""
    given = ["--splits", options.splits, "--seeds", str(options.seeds)]
    out = ["--out", str(folder_of(variant.name, options.out))]
    command = ["train", *given, *variant.flags, *out]
    print(shlex.join(["featstore", *command]), flush=True)
    call = "from pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", call, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{variant.name}: {done.stderr}")


def compared(found: list[Variant], out: Path) -> dict[str, Difference]:
    """Compare the variants with their base, all with one base together; by variant."""
    apart: dict[str, Difference] = {}
    for base in dict.fromkeys(own.base for own in found if own.base):
        names = [own.name for own in found if own.base == base]
        groups = [read_group(str(folder_of(name, out)), "test") for name in (base, *names)]
        apart |= dict(zip(names, compare(groups), strict=True))
    return apart


def row(variant: Variant, out: Path, apart: Difference | None) -> str:
    """Return a variant's line of the table."""
    summary = read_summary(folder_of(variant.name, out))
    top1, classes = (summary["scores"]["test"][key] for key in ("top1", "mean_class_accuracy"))
    by_split = " / ".join(f"{own['test']['top1']['mean']:.3f}" for own in summary["splits"])
    seconds = sum(run["seconds"] for run in summary["runs"]) / len(summary["runs"])
    val = f"{summary['scores']['val']['top1']['mean']:.3f}"
    cells = [variant.name, val, _spread(top1), by_split, _spread(classes), f"{seconds:.0f}"]
    cells += [_interval(apart), SAYS[apart.holds("top1")]] if apart else ["", ""]
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
    parser.add_argument(
        "--store", action="append", required=True, metavar="[NAME=]STORE", help="of one split"
    )
    parser.add_argument("--variants", type=Path, default=HERE / "factors.yaml")
    parser.add_argument("--only", action="append", help="a variant beside the first")
    parser.add_argument("--splits", default="0,1,2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path("runs/factors"))
    options = parser.parse_args()
    stores = {own.rpartition("=")[0]: own.rpartition("=")[2] for own in options.store}
    found = variants(options.variants, stores)
    if options.only:
        found = [own for own in found if not own.base or own.name in options.only]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda variant: train(variant, options), found))
    header = "variant | val | test top-1 | by split | mean per class | s | difference | significant"
    print(f"\n| {header} |")
    print("| --- | --- | --- | --- | --- | ---: | --- | --- |")
    apart = compared(found, options.out)
    for variant in found:
        print(row(variant, options.out, apart.get(variant.name)))


if __name__ == "__main__":
    main()
