"""Stores of the same clips, as several cameras or backbones would leave them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import featstore
from featstore.format.codecs import Codec
from featstore.reading.store import Store
from featstore.writing.writer import StoreWriter
from tests.stores import contents

RATE = 30  # frames a second
LENGTHS = (30, 61, 15, 90, 7)  # of the clips, in frames
APART = 100  # frames between the beginnings of two clips


def write_view(
    path: Path,
    *,
    lengths: Sequence[int] = LENGTHS,
    every: int = 3,
    late: int = 0,
    window: int = 1,
    dim: int = 4,
    video: str = "00",
    videos: Sequence[int] | None = None,
    codec: Codec | None = None,
    features: np.ndarray | None = None,
    chunk_rows: int = 16,
    subjects_known: bool = True,
    title: str | None = None,
    configuration: dict[str, Any] | None = None,
    **changes: Any,
) -> Store:
    """Write a store with a step every so many frames, whose key is made of the path.

    Its camera began `late` frames later. Steps are frames, or windows of several, whose times are
    those of their middles; the last one ends with its clip. `videos` numbers the video of every
    clip, where they have several. `changes` are columns.
    """
    starts = np.arange(len(lengths)) * APART + 50 - late
    stops = starts + np.array(lengths)
    frames = [
        np.arange(a, b, every) if window == 1 else _windows(a, b, every, window)
        for a, b in zip(starts, stops, strict=True)
    ]
    sizes = [len(own) for own in frames]
    configuration = configuration or {"imported": "arrays", "dtype": "float32"}
    key = path.stem.encode().hex().ljust(64, "0")
    made = contents(
        sizes, dim=dim, chunk_rows=chunk_rows, key=key, codec=codec,
        title=title or path.stem, subjects_known=subjects_known, features=configuration,
    )  # fmt: skip
    made.columns.update(
        start=starts, stop=stops, frame=np.concatenate(frames),
        time=(np.concatenate(frames) + (window - 1) / 2) / RATE,
        video_sha256=np.array([video * 32]),
    )  # fmt: skip
    if videos is not None:
        names = np.array([f"{path.stem}{number}" for number in range(max(videos) + 1)])
        made.columns.update(
            video=np.array(videos), video_name=names, video_sha256=names,
            video_range=np.array(["limited"] * len(names)),
        )  # fmt: skip
    made.columns.update(changes)
    if features is None:
        seed = np.frombuffer(path.stem.encode(), np.uint8)
        features = np.random.default_rng(seed).normal(size=(sum(sizes), dim))
    writer = StoreWriter(path, made)
    for number, (first, last) in enumerate(made.layout.units()):
        writer.write(number, features[first:last].astype(np.float32))
    writer.seal()
    return featstore.open(path)


def _windows(start: int, stop: int, every: int, window: int) -> np.ndarray:
    """The first frames of windows that cover a clip."""
    return np.unique(np.append(np.arange(start, stop - window + 1, every), stop - window))
