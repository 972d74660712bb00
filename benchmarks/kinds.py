"""What each kind of features costs, and two backbones in one decode against two builds.

Draws and encodes half a minute of the recording of ``extract.py`` into a folder that is kept::

    python benchmarks/kinds.py [--folder FOLDER] [--rounds 3]

See README.md for how it measures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from recording import RATE, annotate, encode
from report import machine

import featstore
from featstore.manage.leftovers import size_of
from pipeline.build import build as stage
from pipeline.build.plan.build_plan import cache_of, plan_build
from pipeline.build.plan.options import BuildOptions
from pipeline.build.together import build_together
from pipeline.sources.table import Table
from pipeline.system.memory import keep_freed_memory

FRAMES = 30 * RATE
KINDS = ("pooled", "mean", "grid:2", "grid:3", "tokens")
PAIR = ("mobilenet_v2", "resnet18")


def silent(line: str) -> None:
    """Log nothing."""


def options_of(table: Path, store: Path, **more: Any) -> BuildOptions:
    """Return what `featstore build` is told."""
    quick = {"backbone": PAIR[0], "weights": "random", "pixels": "luma", "fps": 15}
    fixed = {"normalise": "0.4,0.2", "device": "cpu"}
    return BuildOptions(source=Table(data=table), store=store, **(quick | fixed | more))


def build(table: Path, *several: dict[str, Any]) -> tuple[float, list[int], list[int]]:
    """Build into a new folder of stores; return seconds, bytes and lengths of features."""
    with tempfile.TemporaryDirectory() as folder, closing(cache_of(Path(folder))) as cache:
        began = time.perf_counter()
        plans = [
            plan_build(options_of(table, Path(folder), **more), cache, silent) for more in several
        ]
        if len(plans) == 1:
            stage.build(plans[0], cache, silent)
        else:
            build_together(plans, cache, silent)
        seconds = time.perf_counter() - began
        paths = [Path(plan.path) for plan in plans]
        return seconds, [size_of(path) for path in paths], [featstore.open(p).dim for p in paths]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "kinds")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    video = arguments.folder / "half-minute.mp4"
    if not video.exists():
        encode({30: video}, FRAMES)
    table = annotate(arguments.folder / "clips.csv", video, FRAMES / RATE / 60)
    keep_freed_memory()
    build(table, {})  # warms up
    print(machine())
    kinds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    pairs: dict[str, list[float]] = {name: [] for name in (*PAIR, "one decode")}
    facts: dict[str, tuple[int, int]] = {}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            seconds, sizes, dims = build(table, {"features": kind})
            kinds[kind].append(seconds)
            facts[kind] = sizes[0], dims[0]
        for name in PAIR:
            pairs[name].append(build(table, {"backbone": name})[0])
        pairs["one decode"].append(build(table, *({"backbone": name} for name in PAIR))[0])
    print("\n| features | build, s | length of a step | store, MB |\n| --- | --- | --- | --- |")
    for kind, seconds_of in kinds.items():
        size, dim = facts[kind]
        print(f"| {kind} | {median(seconds_of):.1f} | {dim} | {size / 1e6:.2f} |")
    print("\n| build | s |\n| --- | --- |")
    for name, seconds_of in pairs.items():
        print(f"| {name} | {median(seconds_of):.1f} |")
    both = [a + b for a, b in zip(pairs[PAIR[0]], pairs[PAIR[1]], strict=True)]
    saved = median(1 - one / two for one, two in zip(pairs["one decode"], both, strict=True))
    print(f"\none decode saves {100 * saved:.0f} % of {median(both):.1f} s")


if __name__ == "__main__":
    main()
