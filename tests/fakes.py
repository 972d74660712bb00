"""A store in memory, for tests of what reads stores."""

from pathlib import Path
from typing import Any

import numpy as np

from featstore import Store
from featstore.format.layout import Layout

PARTS = ("train", "val", "test")


class MemoryRows:
    """Rows that are an array."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def span(self, start: int, stop: int) -> np.ndarray:
        return self.array[start:stop]

    def take(self, index: np.ndarray) -> np.ndarray:
        return self.array[index]

    def windows(self, firsts: np.ndarray, width: int) -> np.ndarray:
        return self.array[firsts[:, None] + np.arange(width)]


class FakeStore(Store):
    """A `Store` whose clips are given as arrays instead of read from files."""

    def __init__(
        self,
        clips: list[np.ndarray],
        labels: list[int],
        splits: list[str],
        *,
        classes: tuple[str, ...] = ("a", "b"),
        subjects: list[str] | None = None,
        status: list[int] | None = None,
        **attributes: Any,
    ) -> None:
        n = len(clips)
        kept = [np.asarray(clip, np.float32) for clip in clips]
        self.path = Path("features/fake.zarr")
        self.key = "f00d" * 16
        self.title = "fake"
        self.subjects_known = subjects is not None
        self.attributes = {"title": self.title, "untrained": False, **attributes}
        self.classes = classes
        self.clip_ids = np.array([f"clip{i:04d}" for i in range(n)])
        self.subjects = np.array(subjects or [f"video{i}" for i in range(n)])
        self.videos = np.array([f"video{i}" for i in range(n)])
        self.splits = np.array(splits)
        self.labels = np.array(labels, np.int64)
        self.row_size = np.array([len(clip) for clip in clips], np.int64)
        self.status = np.array(status or [0] * n, np.int8)
        self.start, self.stop = np.zeros(n, np.int64), 3 * self.row_size
        self.dim = kept[0].shape[1]
        self.layout = Layout(self.row_size, self.dim, chunk_rows=1)
        self.rows = MemoryRows(np.concatenate(kept))

    def frames(self, clip: int) -> np.ndarray:
        return 3 * np.arange(self.row_size[clip])

    def times(self, clip: int) -> np.ndarray:
        return np.arange(self.row_size[clip]) / 10


def ordered_store(n: int = 150, *, dim: int = 6, seed: int = 0, **options: Any) -> FakeStore:
    """Two classes whose clips are each other's reverse: only the order of steps tells them apart.

    Clips are 5 to 9 steps long and lead from one prototype to another, or back.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, dim))
    clips, labels = [], rng.integers(0, 2, n).tolist()
    for label in labels:
        path = np.linspace(0, 1, int(rng.integers(5, 10)))[:, None]
        clip = first * (1 - path) + second * path + 0.1 * rng.normal(size=(len(path), dim))
        clips.append(clip[::-1] if label else clip)
    splits = [PARTS[0] if i < 0.6 * n else PARTS[1 + i % 2] for i in range(n)]
    options.setdefault("subjects", [f"{part}{i % 3}" for i, part in enumerate(splits)])
    return FakeStore(clips, labels, splits, **options)
