"""Costs of each kind of features; several backbones or splits in one decode against builds alone.

Draws and encodes the first seconds of the recording of ``extract.py`` into a folder that is kept::

    python benchmarks/kinds.py [--folder FOLDER] [--seconds 30] [--rounds 3]

See README.md for how it measures.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from recording import RATE, encode, intervals_of, repeat
from report import machine

import featstore
from featstore.manage.leftovers import size_of
from pipeline.build import build as stage
from pipeline.build.plan.build_plan import cache_of, plan_build
from pipeline.build.plan.options import BuildOptions
from pipeline.build.together import build_together
from pipeline.sources.table import Table
from pipeline.system.memory import keep_freed_memory

KINDS = ("pooled", "mean", "grid:2", "grid:3", "tokens")
PAIR = ("mobilenet_v2", "resnet18")
PARTS = ("train", "val", "test")


def silent(line: str) -> None:
    """Log nothing."""


def options_of(folder: Path, store: Path, *, split: int = 0, **more: Any) -> BuildOptions:
    """Return the options of a build of one split; mean and std are fixed unless `more` says so."""
    quick = {"backbone": PAIR[0], "weights": "random", "pixels": "luma", "fps": 15}
    fixed = {"normalise": "0.4,0.2", "device": "cpu"}
    source = Table(data=folder / "clips.csv", split_file=folder / "splits.csv", split=split)
    return BuildOptions(source=source, store=store, **(quick | fixed | more))


def write_rows(path: Path, rows: list[list[Any]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def annotate(folder: Path, seconds: int) -> None:
    """Draw a video of each of three people; write the tables of their clips and of three splits."""
    video, rows = folder / f"{seconds}-seconds.mp4", []
    if not video.exists():
        encode({30: video}, seconds * RATE)
    for number in range(3):
        frames = (seconds // 3 + number - 1) * RATE  # equal files would be one video
        path = folder / f"person-{number}-of-{seconds}.mp4"
        if not path.exists():
            repeat(video, path, frames)
        rows += [
            [path, start, stop, "ab"[clip % 2], f"person {number}"]
            for clip, (start, stop) in enumerate(intervals_of(frames / RATE / 60))
        ]
    write_rows(folder / "clips.csv", [["video", "start", "end", "label", "subject"], *rows])
    parts = [[f"person {n}", *(PARTS[(n + split) % 3] for split in range(3))] for n in range(3)]
    write_rows(folder / "splits.csv", [["subject", "split_0", "split_1", "split_2"], *parts])


class Measured(NamedTuple):
    """What builds took, and the stores that they made."""

    seconds: float
    processor: float
    sizes: list[int]
    dims: list[int]


def build(data: Path, *several: dict[str, Any]) -> Measured:
    """Build into a new folder of stores."""
    with tempfile.TemporaryDirectory() as folder, closing(cache_of(Path(folder))) as cache:
        began, processor = time.perf_counter(), time.process_time()
        plans = [
            plan_build(options_of(data, Path(folder), **more), cache, silent) for more in several
        ]
        if len(plans) == 1:
            stage.build(plans[0], cache, silent)
        else:
            build_together(plans, cache, silent)
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
        paths = [Path(plan.path) for plan in plans]
        dims = [featstore.open(path).dim for path in paths]
        return Measured(seconds, processor, [size_of(path) for path in paths], dims)


def medians(rounds: list[Measured]) -> str:
    """Return the medians of both times as cells of a table."""
    return " | ".join(f"{median(one[column] for one in rounds):.1f}" for column in (0, 1))


def print_kinds(rounds: dict[str, list[Measured]]) -> None:
    """Print a table of kinds of features."""
    print("\n| features | build, s | processor, s | length of a step | store, MB |")
    print("| --- | --- | --- | --- | --- |")
    for kind, measured in rounds.items():
        size = measured[0].sizes[0] / 1e6
        print(f"| {kind} | {medians(measured)} | {measured[0].dims[0]} | {size:.2f} |")


def print_saved(rounds: dict[str, list[Measured]]) -> None:
    """Print a table of builds, and what the last one saves against the sum of the others."""
    print("\n| build | s | processor, s |\n| --- | --- | --- |")
    for name, measured in rounds.items():
        print(f"| {name} | {medians(measured)} |")
    *builds, together = rounds.values()
    for column, unit in ((0, "s"), (1, "s of the processor")):
        alone = [sum(one[column] for one in each) for each in zip(*builds, strict=True)]
        shares = sorted(1 - one[column] / whole for one, whole in zip(together, alone, strict=True))
        print(
            f"one decode saves {100 * median(shares):.0f} % ({100 * shares[0]:.0f} to "
            f"{100 * shares[-1]:.0f}) of {median(alone):.1f} {unit}"
        )


def main() -> None:
    """Print the three tables after every round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "kinds")
    parser.add_argument("--seconds", type=int, default=30, help="of video, 15 or more")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = arguments.folder
    data.mkdir(parents=True, exist_ok=True)
    annotate(data, arguments.seconds)
    backbones = [{"backbone": name} for name in PAIR]
    splits = [{"split": number, "normalise": "split"} for number in range(3)]
    keep_freed_memory()
    build(data, {})  # warms up
    print(machine())
    kinds: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
    pairs: dict[str, list[Measured]] = {name: [] for name in (*PAIR, "one decode")}
    threes: dict[str, list[Measured]] = {
        name: [] for name in ("split 0", "split 1", "split 2", "one decode")
    }
    for number in range(arguments.rounds):
        for rounds, several in ((pairs, backbones), (threes, splits)):
            for name, alone in zip(rounds, several, strict=False):
                rounds[name].append(build(data, alone))
            rounds["one decode"].append(build(data, *several))
        for kind in KINDS:
            kinds[kind].append(build(data, {"features": kind}))
        print(f"\nafter {number + 1} of {arguments.rounds} rounds:")
        print_kinds(kinds)
        print_saved(pairs)
        print_saved(threes)


if __name__ == "__main__":
    main()
