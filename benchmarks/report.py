"""Tables of what was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np

PACKAGES = ("numpy", "zarr", "h5py", "torch", "litdata", "webdataset", "annbatch")


class Measured(Protocol):
    """What a table shows of a contestant."""

    name: str
    shuffle: str
    error: str
    seconds: list[float]


def machine() -> str:
    """Return hardware and versions in a line."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = lines[0].partition(":")[2].strip() if lines else model
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return f"{model} {platform.machine()}, {os.cpu_count()} processors\n{', '.join(versions)}"


def ratio(fast: Measured, slow: Measured) -> float:
    """Return how many times as fast the first is: the median over rounds, NaN after an error."""
    if fast.error or slow.error:
        return float("nan")
    return median(b / a for a, b in zip(fast.seconds, slow.seconds, strict=True))


def table(title: str, contestants: Sequence[Measured], batch_bytes: float) -> str:
    """Return a Markdown table: medians over rounds; the first contestant is the measure.

    Parameters
    ----------
    title : str
    contestants : sequence of Measured
    batch_bytes : float
        Features in a batch on average, padding not counted.
    """
    first = contestants[0]
    lines = [
        f"\n### {title}\n",
        f"| contestant | order | ms a batch | quartiles | GB/s | speed / {first.name} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in contestants:
        if one.error:
            lines.append(f"| {one.name} | {one.shuffle} | {one.error} | | | |")
            continue
        low, middle, high = np.quantile(one.seconds, [0.25, 0.5, 0.75]) * 1e3
        speed = batch_bytes / middle / 1e6
        lines.append(
            f"| {one.name} | {one.shuffle} | {middle:.3g} | {low:.3g} to {high:.3g} "
            f"| {speed:.3g} | {ratio(one, first):.3g} |"
        )
    return "\n".join(lines)


def verdicts(ours: Sequence[Measured], others: Sequence[Measured], target: float, kind: str) -> str:
    """Return a line for each of ours against the fastest of the others."""
    able = [other for other in others if not other.error]
    if not able:
        return f"\n{kind}: none of them ran"
    fastest = min(able, key=lambda other: median(other.seconds))
    lines = []
    for one in ours:
        found = ratio(one, fastest)
        word = "met" if found >= target else "MISSED"
        word = "NOT MEASURED" if one.error else word
        lines.append(
            f"- {one.name} / {fastest.name} ({kind}): {found:.3g}, target {target:g}: {word}"
        )
    return "\n".join(lines)
