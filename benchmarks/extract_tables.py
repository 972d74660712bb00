"""What the benchmark of the first stage found, as tables."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median

import torch
from report import machine

# Key frames every so many frames: how many times as fast preparing and building must be.
TARGETS = {12: (4.0, 2.0), 30: (5.0, 2.5), 250: (15.0, 4.0)}
LIMIT_TARGET, MEMORY_TARGET = 0.85, 1.10
LIMIT_INTERVAL = 30


@dataclass(slots=True)
class Seconds:
    """What was measured with one interval of key frames, a value a round."""

    reference_frames: list[float] = field(default_factory=list)
    reference_clip: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    frames: list[float] = field(default_factory=list)
    build: list[float] = field(default_factory=list)
    extraction: list[float] = field(default_factory=list)
    decoding: list[float] = field(default_factory=list)
    backbone: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)


def ratios(slow: list[float], fast: list[float]) -> tuple[float, str]:
    """Return the median of the ratios within rounds, and the lowest to the highest."""
    found = [a / b for a, b in zip(slow, fast, strict=True)]
    return median(found), f"{min(found):.3g} to {max(found):.3g}"


def speed_lines(
    title: str,
    found: dict[int, Seconds],
    pick: Callable[[Seconds], tuple[list[float], list[float]]],
    which: int,
) -> list[str]:
    """Return a table of the reference against featstore."""
    lines = [
        f"\n### {title}\n",
        "| key frame every | reference s | featstore s | ratio | rounds | target | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for interval, one in found.items():
        reference, own = pick(one)
        ratio, spread = ratios(reference, own)
        target = TARGETS[interval][which]
        lines.append(
            f"| {interval} | {median(reference):.1f} | {median(own):.1f} | {ratio:.2f} | {spread} "
            f"| {target:g} | {word(ratio >= target)} |"
        )
    return lines


def limit_lines(one: Seconds) -> list[str]:
    """Return a table of the share of the limit that the extraction reaches."""
    limits = [a + b for a, b in zip(one.decoding, one.backbone, strict=True)]
    share, spread = ratios(limits, one.extraction)
    return [
        f"\n### Share of the limit, a key frame every {LIMIT_INTERVAL}\n",
        "| decoding alone s | backbone alone s | extraction s | share | rounds | target | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| {median(one.decoding):.1f} | {median(one.backbone):.1f} | {median(one.extraction):.1f} "
        f"| {share:.2f} | {spread} | {LIMIT_TARGET:g} | {word(share >= LIMIT_TARGET)} |",
    ]


def word(met: bool) -> str:
    """Say whether a target was met."""
    return "met" if met else "MISSED"


def count(table: Path) -> int:
    """Return how many clips a table has."""
    return len(table.read_text().splitlines()) - 1


def header(video: Path, table: Path, annotated: int, options: argparse.Namespace) -> str:
    """Return the command, the machine and what is measured."""
    rate = video.stat().st_size * 8 / (options.minutes * 60) / 1e6
    packages = ("av", "opencv-python-headless", "pillow", "torchvision")
    return (
        f"python {shlex.join(sys.argv)}\n{machine()}\n"
        f"{', '.join(f'{name} {metadata.version(name)}' for name in packages)}; "
        f"{torch.get_num_threads()} torch threads\n\n"
        f"{options.minutes} minutes of 512 x 424 at 30 fps, H.264, {rate:.2f} Mbit/s with a key "
        f"frame every {LIMIT_INTERVAL} frames; {count(table)} clips of 3 s at 5 fps in the first "
        f"{annotated} minutes; mobilenet_v2, random weights.\n"
        f"{options.rounds} rounds; the reference runs on {options.clips} random clips, others in "
        "each round, and its time is scaled to all."
    )
