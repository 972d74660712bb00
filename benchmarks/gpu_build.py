"""The steps of `gpu.py` that build: recordings, the CPU's features, builds, NVDEC."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from gpu_lab import Lab, Row, seconds_of, silent
from numpy.typing import NDArray
from recording import RATE, annotate, encode, repeat

import featstore
from featstore.manage.provenance import read_provenance
from pipeline.build import build as stage
from pipeline.build.extract.backbone import load_forward
from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.extract.buffers import Uploads
from pipeline.build.extract.extractor import BLOCK_FRAMES
from pipeline.build.extract.timings import bottleneck
from pipeline.build.plan.build_plan import BuildPlan, cache_of, plan_build
from pipeline.build.plan.options import BuildOptions
from pipeline.sources.table import Table
from pipeline.system.device import upload
from pipeline.video.decode import decode
from pipeline.video.pieces import pieces

INTERVAL, FPS = 30, Fraction(5)  # frames between key frames, steps per second
AROUND = ("index", "load", "statistics", "seal")  # stages that are not the extraction
MOST_BATCHES = 8  # timed when the backbone runs alone; more take the same time each


def record(lab: Lab) -> Iterator[Row]:
    """Draw and encode a recording, and write tables of all, a few, and some of its clips."""
    sizes, video = lab.sizes, lab.folder / "recording.mp4"
    if not video.exists():
        drawn, part = lab.folder / "drawn.mp4", lab.folder / "recording.part"
        encode({INTERVAL: drawn}, sizes.drawn)
        repeat(drawn, part, int(sizes.minutes * 60 * RATE))
        part.rename(video)
    table = annotate(lab.folder / "clips.csv", video, sizes.minutes)
    with table.open(newline="") as stream:
        head, *rows = list(csv.reader(stream))
    for name, count in (("few.csv", sizes.few), ("tune.csv", sizes.tune_clips)):
        with (lab.folder / name).open("w", newline="") as stream:
            csv.writer(stream).writerows([head, *rows[:count]])
    yield {
        "recording": f"{sizes.minutes:g} minutes of 512 x 424 at {RATE} frames per second, H.264, "
        f"a key frame every {INTERVAL} frames",
        "bytes": video.stat().st_size,
        "clips": len(rows),
    }


def options_of(
    lab: Lab, table: str, stores: str, backbone: str, size: int, **more: Any
) -> BuildOptions:
    """Return what `featstore build` is told. Mean and std are fixed, so nothing is measured."""
    usual = {"device": lab.device, "pixels": "luma", "weights": "random"}
    return BuildOptions(
        source=Table(data=lab.path(table, "recordings"), unit="frames"),
        store=lab.folder / stores,
        backbone=backbone,
        size=size,
        fps=FPS,
        normalise="0.4,0.2",
        **(usual | more),
    )


def build(options: BuildOptions, log: Any = silent) -> tuple[BuildPlan, dict[str, float]]:
    """Build a store; return its plan, and seconds by stage."""
    options.store.mkdir(parents=True, exist_ok=True)
    with closing(cache_of(options.store)) as cache:
        plan = plan_build(options, cache, log)
        return plan, stage.build(plan, cache, log)


def refer(lab: Lab) -> Iterator[Row]:
    """Compute the features of a few clips on the CPU, in float32."""
    lab.empty("reference")
    for name, size in lab.backbones.items():

        def work(name: str = name, size: int = size) -> Row:
            options = options_of(lab, "few.csv", f"reference/{name}", name, size, device="cpu")
            plan, seconds = build(options)
            return {"clips": len(plan.clips), "seconds": seconds["total"]}

        yield lab.attempt({"backbone": name}, work)


def measure(lab: Lab) -> Iterator[Row]:
    """Build with every backbone in every precision, and compare with the CPU's features."""
    decoding, copying = decode_alone(lab), copy_alone(lab)
    yield {"decode_alone": decoding, "copy_alone": copying}
    for precision in lab.precisions:
        for name, size in lab.backbones.items():

            def work(name: str = name, size: int = size, precision: str = precision) -> Row:
                found = measured(lab, name, size, precision)
                # A CPU decodes and computes on the same processors; a GPU does both at once.
                parts = [decoding, copying, found["backbone_alone"]]
                limit = max(parts) if lab.where.type == "cuda" else sum(parts)
                return found | {"limit": limit, "share": limit / found["extraction"]}

            yield lab.attempt({"backbone": name, "precision": precision}, work)


def measured(lab: Lab, name: str, size: int, precision: str) -> Row:
    """Build once; return speeds, memory, the size of batches, and the deviation."""
    lab.empty("builds")
    device = lab.where
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    plan, seconds = build(options_of(lab, "clips.csv", "builds", name, size, precision=precision))
    extraction = seconds["total"] - sum(seconds.get(stage, 0.0) for stage in AROUND)
    facts, store = read_provenance(plan.path), featstore.open(plan.path)
    batch, *_ = shape = store.attributes["numerics"]["batch_shape"]
    peak = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
    inputs = len(np.unique(np.concatenate([store.frames(clip) for clip in range(len(store))])))
    return {
        "clips": len(plan.clips),
        "frames": facts["frames_used"],
        "seconds": seconds["total"],
        "extraction": extraction,
        "clips_per_second": len(plan.clips) / extraction,
        "frames_per_second": facts["frames_used"] / extraction,
        "stages": seconds,
        "bottleneck": bottleneck(seconds),
        "batch_size": batch,
        "peak_memory": peak,
        "backbone_alone": backbone_alone(plan, shape, inputs),
        "precision_error": facts.get("precision_error"),
        "deviation": deviation(lab, store, name),
    }


def deviation(lab: Lab, store: featstore.Store, name: str) -> Row:
    """Return how far features are from the CPU's, relative to their norm and at most."""
    [path] = lab.path(f"reference/{name}", "reference").glob("*.zarr")
    reference = featstore.open(path)
    place = {clip: number for number, clip in enumerate(store.clip_ids)}
    expected = np.concatenate(list(reference)).astype(np.float64)
    rows = np.concatenate([store[place[clip]] for clip in reference.clip_ids]).astype(np.float64)
    return {
        "relative_rms": float(np.linalg.norm(rows - expected) / np.linalg.norm(expected)),
        "largest_absolute": float(np.abs(rows - expected).max()),
        "steps": len(rows),
    }


def _planned(lab: Lab) -> tuple[BuildPlan, list[NDArray[np.int64]]]:
    """Return a plan, and the frames of the recording in the pieces in which they are decoded."""
    name, size = next(iter(lab.backbones.items()))
    options = options_of(lab, "clips.csv", "pieces", name, size)
    options.store.mkdir(parents=True, exist_ok=True)
    with closing(cache_of(options.store)) as cache:
        plan = plan_build(options, cache, silent)
    inputs, _ = plan.inputs()
    return plan, pieces(plan.videos[0].index, np.unique(np.concatenate(inputs)))


def decode_alone(lab: Lab) -> float:
    """Return seconds to decode the frames, in as many threads as a build has."""
    plan, parts = _planned(lab)
    video = plan.videos[0]

    def run(frames: NDArray[np.int64]) -> None:
        for _ in decode(video.path, video.index, frames, "luma"):
            pass

    with ThreadPoolExecutor(plan.options.workers) as pool:
        return seconds_of(lambda: list(pool.map(run, parts)), torch.device("cpu"))


def copy_alone(lab: Lab) -> float:
    """Return seconds to copy the decoded frames to the device, as a build does."""
    plan, parts = _planned(lab)
    video, device = plan.videos[0], lab.where
    frames = [picture for _, picture in decode(video.path, video.index, parts[0], "luma")]
    block = np.stack(frames[: BLOCK_FRAMES[device.type]])
    uploads, count = Uploads(device), sum(map(len, parts)) // len(block)

    def run(number: int) -> None:
        with uploads.beside():
            upload(block, device)

    with ThreadPoolExecutor(plan.options.workers) as pool:
        list(pool.map(run, range(plan.options.workers)))
        return seconds_of(lambda: list(pool.map(run, range(count))), device)


def backbone_alone(plan: BuildPlan, shape: list[int], inputs: int) -> float:
    """Return seconds for the inputs in batches that lie on the device, computed as in a build."""
    forward = load_forward(replace(plan.extraction, batch_size=shape[0]))
    device = forward.device
    runner = BatchRunner(forward.backbone, shape, device, plan.options.precision)
    batch = list(torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device))
    needed = -(-inputs // shape[0])
    timed = min(needed, MOST_BATCHES)

    def run() -> None:
        for future in [runner.submit(batch) for _ in range(timed)]:
            future.result()

    with runner.open():
        run()  # warms up
        return seconds_of(run, device) * needed / timed


def nvdec(lab: Lab) -> Iterator[Row]:
    """Decode on the GPU through torchcodec, against PyAV with the same pixels."""
    kind = "cuda" if lab.where.type == "cuda" else "cpu"
    name, size = next(iter(lab.backbones.items()))
    lab.empty("rgb")
    paths = {}
    for decoder in ("pyav", f"torchcodec:{kind}"):

        def work(decoder: str = decoder) -> Row:
            more = {"pixels": "rgb", "decoder": decoder}
            options = options_of(lab, "clips.csv", "rgb", name, size, **more)
            plan, seconds = build(options)
            extraction = seconds["total"] - sum(seconds.get(stage, 0.0) for stage in AROUND)
            paths[decoder] = plan.path
            frames = read_provenance(plan.path)["frames_used"]
            return {"extraction": extraction, "frames_per_second": frames / extraction}

        yield lab.attempt({"decoder": decoder, "backbone": name}, work)
    if len(paths) == 2:
        one, other = (np.concatenate(list(featstore.open(path))) for path in paths.values())
        off = float(np.linalg.norm(one - other) / np.linalg.norm(one))
        yield {"decoder": "both", "relative_rms": off}
