"""How fast the first stage is, against a script that opens, seeks and reads clip by clip.

Draws and encodes an infrared recording once per interval of key frames, which takes some minutes,
into a folder that is kept::

    python benchmarks/extract.py [--folder FOLDER] [--minutes 20] [--rounds 3]

See README.md for how it measures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from extract_tables import (
    LIMIT_INTERVAL,
    MEMORY_TARGET,
    TARGETS,
    Seconds,
    count,
    header,
    limit_lines,
    speed_lines,
    word,
)
from numpy.typing import NDArray
from private import Peak
from recording import annotate, recording
from seeking import clip_frames
from torch import Tensor, nn

import featstore
from models.backbones import Backbone, build_backbone
from pipeline.build import build as stage
from pipeline.build.extract.backbone import same_but_sooner
from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.plan.build_plan import BuildPlan, cache_of, plan_build
from pipeline.build.plan.options import BATCH_SIZES, BuildOptions
from pipeline.build.plan.sampling import sample
from pipeline.sources.table import Table
from pipeline.system.memory import keep_freed_memory
from pipeline.video.decode import decode

BACKBONE, SIZE, FPS = "mobilenet_v2", 224, Fraction(5)
MEAN, STD = 0.4, 0.2
EVERY = 16  # pixels between those that `Grid` looks at
BATCH = BATCH_SIZES["cpu", False]
CPU = torch.device("cpu")
# The stages before and behind the extraction.
AROUND = ("index", "load", "statistics", "seal")


class Grid(nn.Module):
    """Stands in for a backbone where only the frames matter: pixels on a grid are the features."""

    def forward(self, x: Tensor) -> Tensor:
        """Return every 16th pixel of every 16th row, shape (batch, 196)."""
        return x[:, 0, EVERY // 2 :: EVERY, EVERY // 2 :: EVERY].flatten(1)


def silent(line: str) -> None:
    """Log nothing."""


def options_of(table: Path, store: Path) -> BuildOptions:
    """Return what `featstore build` is told; mean and std are given, as they are to the other."""
    return BuildOptions(
        source=Table(data=table),
        store=store,
        backbone=BACKBONE,
        weights="random",
        pixels="luma",
        size=SIZE,
        fps=FPS,
        normalise=f"{MEAN},{STD}",
        device="cpu",
    )


def build(
    table: Path, store: Path, backbone: nn.Module
) -> tuple[BuildPlan, float, dict[str, float]]:
    """Build into a new folder of stores; return what it was, seconds, and seconds by stage."""
    cache = cache_of(store)
    began = time.perf_counter()
    with mock.patch("pipeline.build.extract.backbone.load_backbone", return_value=backbone):
        plan = plan_build(options_of(table, store), cache, silent)
        stages = stage.build(plan, cache, silent)
    seconds = time.perf_counter() - began
    cache.close()
    return plan, seconds, stages


def clips_of(plan: BuildPlan) -> list[NDArray[np.int64]]:
    """Return the frames of every clip."""
    index = plan.videos[0].index
    return [sample(index, clip.start, clip.stop, FPS, clip.shown) for clip in plan.clips]


@torch.inference_mode()
def seek_clips(
    path: Path, clips: list[NDArray[np.int64]], backbone: nn.Module
) -> tuple[float, float, list[Tensor]]:
    """Run the reference; return seconds for frames, seconds for the backbone, and the frames."""
    frames_seconds = backbone_seconds = 0.0
    seen = []
    for frames in clips:
        began = time.perf_counter()
        plan = clip_frames(path, frames, SIZE, MEAN, STD)
        middle = time.perf_counter()
        backbone(plan.contiguous(memory_format=torch.channels_last))
        backbone_seconds += time.perf_counter() - middle
        frames_seconds += middle - began
        seen.append(Grid()(plan))
    return frames_seconds, backbone_seconds, seen


def decode_alone(plan: BuildPlan, frames: NDArray[np.int64]) -> float:
    """Return seconds to decode frames and do nothing with them, in all worker threads."""
    video = plan.videos[0]

    def run(part: NDArray[np.int64]) -> None:
        for _ in decode(video.path, video.index, part, "luma"):
            pass

    workers = plan.options.workers
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, np.array_split(frames, workers)))
    return time.perf_counter() - began


def backbone_alone(backbone: Backbone, inputs: int) -> float:
    """Return seconds for the batches that so many inputs take, computed as a build does."""
    runner = BatchRunner(backbone, [BATCH, backbone.channels, SIZE, SIZE], CPU)
    frame = torch.zeros([backbone.channels, SIZE, SIZE])
    with runner.open():
        began = time.perf_counter()
        for future in [runner.submit([frame] * BATCH) for _ in range(0, inputs, BATCH)]:
            future.result()
        return time.perf_counter() - began


def measure_frames(
    table: Path, video: Path, backbone: nn.Module, found: Seconds, sampled: int, round_: int
) -> None:
    """Let featstore prepare all clips, and the reference some, which its backbone then sees."""
    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        plan, seconds, _ = build(table, Path(folder), Backbone(Grid(), ()))
        store = featstore.open(plan.path)
        clips = clips_of(plan)
        found.frames.append(seconds)
        some = np.random.default_rng(round_).choice(len(clips), sampled, replace=False)
        frames, forwards, seen = seek_clips(video, [clips[clip] for clip in some], backbone)
        found.reference_frames.append(frames / sampled * len(clips))
        found.reference_clip.append((frames + forwards) / sampled)
        off = [np.abs(store[clip] - own.numpy()) for clip, own in zip(some, seen, strict=True)]
    found.differences.append(float(np.mean(np.concatenate(off))) * STD * 255)


def measure_build(table: Path, found: Seconds, *, limit: bool) -> None:
    """Build with the backbone; then, for the limit, decode alone and run the backbone alone."""
    backbone = build_backbone(BACKBONE)  # a new one, for the build may change it
    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        plan, seconds, stages = build(table, Path(folder), backbone)
    clips = clips_of(plan)
    found.build.append(seconds)
    found.reference.append(found.reference_clip[-1] * len(clips))
    found.extraction.append(stages["total"] - sum(stages[name] for name in AROUND))
    if limit:
        wanted = np.unique(np.concatenate(clips))
        found.decoding.append(decode_alone(plan, wanted))
        sooner = same_but_sooner(backbone, plan.extraction, CPU)
        found.backbone.append(backbone_alone(sooner, len(wanted)))


def show_peak(table: Path) -> None:
    """Build once and print the peak of private memory in bytes."""
    backbone = build_backbone(BACKBONE)
    with tempfile.TemporaryDirectory(dir=table.parent) as folder, Peak(0.05) as memory:
        build(table, Path(folder), backbone)
    print(memory.peak)


def memory_lines(folder: Path, lengths: list[int]) -> list[str]:
    """Return a table of the peak memory of building recordings of two lengths, in new processes."""
    lines = [
        "\n### Private memory of a build\n",
        "| recording | frames sampled | private MB, peak | to the shorter one | target | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    peaks = []
    for minutes in lengths:
        video = recording(folder, LIMIT_INTERVAL, minutes)
        table = annotate(folder / f"clips-memory-{minutes}.csv", video, minutes)
        command = [sys.executable, __file__, "--peak-of", str(table)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout))
        ratio = peaks[-1] / peaks[0]
        lines.append(
            f"| {minutes} min | {count(table)} clips of 15 | {peaks[-1] / 1e6:.0f} | {ratio:.3f} "
            f"| {MEMORY_TARGET:g} | {word(ratio <= MEMORY_TARGET)} |"
        )
    return lines


def speed(options: argparse.Namespace) -> None:
    """Measure in rounds, and print the tables."""
    videos = {n: recording(options.folder, n, options.minutes) for n in TARGETS}

    annotated = options.annotated or options.minutes
    tables = {
        n: annotate(options.folder / f"clips-{n}-{annotated}-minutes.csv", video, annotated)
        for n, video in videos.items()
    }
    print(header(videos[LIMIT_INTERVAL], tables[LIMIT_INTERVAL], annotated, options), flush=True)
    backbone = build_backbone(BACKBONE)
    backbone_alone(backbone, 10 * BATCH)  # warms up, and lays it out
    found = {interval: Seconds() for interval in TARGETS}
    for number in range(options.rounds):
        for n, one in found.items():
            measure_frames(tables[n], videos[n], backbone, one, options.clips, number)
            measure_build(tables[n], one, limit=n == LIMIT_INTERVAL)
            print(f"round {number}, key frame every {n}: {one}", file=sys.stderr, flush=True)
    lines = speed_lines(
        "Preparing frames", found, lambda one: (one.reference_frames, one.frames), 0
    )
    lines += speed_lines("The whole build", found, lambda one: (one.reference, one.build), 1)
    lines += limit_lines(found[LIMIT_INTERVAL])
    off = max(max(one.differences) for one in found.values())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines.append(f"\nPrepared frames differ by at most {off:.2f} of 255 grey levels on average.")
    lines.append(f"Load of the machine over the last 1, 5 and 15 minutes: {load}.")
    print("\n".join(lines), flush=True)


def main() -> None:
    """Draw and encode what is not there yet, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "featbench"))
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--annotated", type=int, help="first minutes that have clips; else all")
    parser.add_argument("--rounds", type=int, default=3, help="0 measures only memory")
    parser.add_argument("--clips", type=int, default=16, help="that the reference runs on")
    parser.add_argument(
        "--memory", type=int, nargs="*", default=[1, 60], help="minutes of each build; may be none"
    )
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep_freed_memory()
    if options.peak_of:
        show_peak(options.peak_of)
        return
    if options.rounds:
        speed(options)
    if options.memory:
        print("\n".join(memory_lines(options.folder, options.memory)))


if __name__ == "__main__":
    main()
