"""What Dask costs: per unit of work, and against two processes that know nothing of each other.

::

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--folder FOLDER] [--units 10000] [--minutes 20]

See README.md for how it measures.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from statistics import median
from unittest import mock

import av
import numpy as np
from recording import annotate, recording
from report import machine

from pipeline.build import build as stage
from pipeline.build.plan.build_plan import cache_of, plan_build
from pipeline.build.plan.options import BuildOptions
from pipeline.sources.table import Table
from pipeline.system.dask_cluster import Cluster
from pipeline.system.memory import keep_freed_memory

DIM = 512  # of squeezenet1_1
SMALL, LARGE = (48, 64), 224
OVERHEAD_TARGET, WORKERS_TARGET = 20.0, 0.9
# The stages before and behind the extraction.
AROUND = ("index", "load", "statistics", "seal")


def options_of(table: Path, store: Path, *, large: bool) -> BuildOptions:
    """Return what `featstore build` is told."""
    return BuildOptions(
        source=Table(data=table),
        store=store,
        backbone="mobilenet_v2" if large else "squeezenet1_1",
        weights="random",
        pixels="luma",
        size=LARGE if large else 32,
        fps=Fraction(5) if large else None,
        normalise="0.4,0.2",
        batch_size=None if large else 1,
        workers=1,
        device="cpu",
    )


def build(table: Path, *, large: bool, dask: str | None) -> float:
    """Build into a new folder of stores; return the seconds that extraction took."""
    with (
        tempfile.TemporaryDirectory() as store,
        closing(cache_of(Path(store))) as cache,
        Cluster(dask, silent) if dask else nothing() as cluster,
    ):
        plan = plan_build(options_of(table, Path(store), large=large), cache, silent)
        seconds = stage.build(plan, cache, silent, cluster)
    return seconds["total"] - sum(seconds[name] for name in AROUND)


@contextmanager
def nothing() -> Iterator[None]:
    """Stand in for a cluster."""
    yield None


def silent(line: str) -> None:
    """Log nothing."""


def overhead(folder: Path, units: int, rounds: int) -> str:
    """Return what a unit costs in this process, and by the one worker of a cluster."""
    table = small_table(folder, units)
    alone, dask = [], []
    with mock.patch("featstore.format.layout.CHUNK_BYTES", 4 * DIM):  # a row a unit
        for number in range(rounds):
            alone.append(build(table, large=False, dask=None))
            dask.append(build(table, large=False, dask="local:1"))
            show(number, alone[-1], dask[-1])
    adds = median(1000 * (b - a) / units for a, b in zip(alone, dask, strict=True))
    each = [f"{1000 * median(own) / units:.2f} ms" for own in (alone, dask)]
    return (
        f"{units} units of one frame: {each[0]} a unit in one process, {each[1]} with one Dask "
        f"worker; Dask adds {adds:.2f} ms a unit (target: less than {OVERHEAD_TARGET:g})."
    )


def workers(folder: Path, minutes: int, rounds: int) -> str:
    """Return how fast two Dask workers are, as a share of two processes without Dask."""
    video = recording(folder, 30, minutes)
    whole = annotate(folder / f"scale-{minutes}.csv", video, minutes)
    halves = split(whole)
    apart, dask = [], []
    for number in range(rounds):
        apart.append(max(side_by_side(halves)))
        dask.append(build(whole, large=True, dask="local:2"))
        show(number, apart[-1], dask[-1])
    share = median(a / b for a, b in zip(apart, dask, strict=True))
    return (
        f"{minutes} minutes of 512 x 424, mobilenet_v2: two processes {median(apart):.1f} s, two "
        f"Dask workers {median(dask):.1f} s: {share:.2f} of their speed (target {WORKERS_TARGET})."
    )


def side_by_side(tables: list[Path]) -> list[float]:
    """Build each table in a process of its own, all at once."""
    command = [sys.executable, __file__, "--half"]
    started = [
        subprocess.Popen([*command, str(table)], stdout=subprocess.PIPE, text=True)
        for table in tables
    ]
    return [float(json.loads(process.communicate()[0])) for process in started]


def split(table: Path) -> list[Path]:
    """Write the first and the second half of a table; every half has every part."""
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for number, row in enumerate(rows):
        row |= {"split": ("train", "val", "test")[number % 3], "subject": f"s{number % 3}"}
    made = []
    for name, own in (("first", rows[: len(rows) // 2]), ("second", rows[len(rows) // 2 :])):
        made.append(write(table.with_name(f"{table.stem}-{name}.csv"), own))
    return made


def small_table(folder: Path, frames: int) -> Path:
    """Encode a small video and annotate clips of ten frames."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"small-{frames}.mp4"
    if not path.exists():
        part = path.with_suffix(".part")
        noise = np.random.default_rng(0).integers(16, 235, (16, *SMALL, 3), dtype=np.uint8)
        with av.open(str(part), "w", format="mp4") as output:
            stream = output.add_stream("libx264", rate=30, options={"g": "12"})
            stream.height, stream.width = SMALL
            stream.pix_fmt = "yuv420p"
            for number in range(frames):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(noise[number % 16], "rgb24")))
            output.mux(stream.encode(None))
        part.rename(path)
    rows = [
        {
            "video": path.name,
            "start": first,
            "end": first + 10,
            "label": "ab"[number % 2],
            "subject": f"s{number % 3}",
            "split": ("train", "val", "test")[number % 3],
        }
        for number, first in enumerate(range(0, frames, 10))
    ]
    return write(folder / f"small-{frames}.csv", rows)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write a table."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def show(number: int, first: float, second: float) -> None:
    """Say on standard error how a round went."""
    print(f"round {number}: {first:.1f} s, with Dask {second:.1f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "featbench"))
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--half", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep_freed_memory()  # as `featstore build` does first
    if options.half:
        print(json.dumps(build(options.half, large=True, dask=None)))
        return
    print(machine())
    print(overhead(options.folder, options.units, options.rounds), flush=True)
    print(workers(options.folder, options.minutes, options.rounds), flush=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Load of the machine over the last 1, 5 and 15 minutes: {load}.")


if __name__ == "__main__":
    main()
