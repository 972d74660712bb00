"""A small data set on disk, and stores built of it."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

import featstore
from featstore import Store
from pipeline.build import build as stage
from pipeline.build import together
from pipeline.build.plan.build_plan import BuildPlan, cache_of, plan_build
from pipeline.build.plan.options import BuildOptions
from pipeline.sources.table import Table
from tests.videos import GOP_8, textured, write_table, write_video

FRAMES = 24


def silent(line: str) -> None:
    """Log nothing."""


def row(video: str, start: float, end: float, part: str, label: str = "a") -> dict[str, Any]:
    """A row of a table; the subject is its part's."""
    return {
        "video": video,
        "start": start,
        "end": end,
        "label": label,
        "subject": f"of {part}",
        "split": part,
    }


ROWS = [
    row("train.mp4", 0, 10, "train"),
    row("train.mp4", 4, 16, "train", "b"),  # overlaps
    row("train.mp4", 6, 9, "train"),  # nested
    row("val.mkv", 3, 20, "val", "b"),
    row("test.avi", 0, FRAMES, "test"),
]


def write_videos(folder: Path) -> None:
    """Write one video for each part, each in another container."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _encoded().items():
        (folder / name).write_bytes(content)


@cache
def _encoded() -> dict[str, bytes]:
    lossy = {"qmin": "2", "qmax": "2", "bf": "2"}
    kinds: dict[str, dict[str, Any]] = {
        "train.mp4": {"options": GOP_8},
        "val.mkv": {"codec": "ffv1", "pixel_format": "gray"},
        "test.avi": {"codec": "mpeg4", "options": lossy},
    }
    with TemporaryDirectory() as folder:
        return {
            name: write_video(Path(folder) / name, textured(FRAMES, seed=seed), **how).read_bytes()
            for seed, (name, how) in enumerate(kinds.items(), start=1)
        }


def write_dataset(folder: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """Write the videos and the table of their clips; return the table."""
    write_videos(folder)
    return write_table(folder / "clips.csv", rows)


def options_of(data: Path, store: Path, *, source: dict[str, Any] | None = None, **more: Any):
    """Options of a quick build of a table."""
    quick: dict[str, Any] = {
        "backbone": "squeezenet1_1",
        "weights": "random",
        "size": 32,
        "pixels": "luma",
        "workers": 1,
        "device": "cpu",
        "batch_size": 8,
    }
    return BuildOptions(source=Table(data=data, **(source or {})), store=store, **(quick | more))


def plan_of(options: BuildOptions) -> BuildPlan:
    """Prepare a build, with the cache of its folder of stores."""
    cache = cache_of(options.store)
    try:
        return plan_build(options, cache, silent)
    finally:
        cache.close()


def build(options: BuildOptions, log: Callable[[str], None] = silent) -> Store:
    """Build a store and open it."""
    cache = cache_of(options.store)
    try:
        plan = plan_build(options, cache, log)
        stage.build(plan, cache, log)
    finally:
        cache.close()
    return featstore.open(plan.path)


def stop_after(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt builds of several stores after some units."""
    write_unit, written = together.write_unit, []

    def stop(*arguments: Any) -> Any:
        written.append(arguments[1])
        if len(written) > units:
            raise KeyboardInterrupt
        return write_unit(*arguments)

    monkeypatch.setattr(together, "write_unit", stop)


def fraction(value: str | None) -> Fraction | None:
    """A rate, or None."""
    return None if value is None else Fraction(value)


def relative_error(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Norm of the difference over norm, for each row."""
    return np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
