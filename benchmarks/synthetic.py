"""The clips that the reading benchmarks read, and the store that holds them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featstore.format import schema
from featstore.format.contents import Contents
from featstore.format.layout import Layout, default_chunk_rows
from featstore.writing.writer import StoreWriter

Rows = NDArray[np.float32]
Ints = NDArray[np.int64]

RESAMPLED = 16
STORES = {"Zarr": "store.zarr", "HDF5": "store.h5"}


class Read(NamedTuple):
    """What every contestant delivers: arrays, or tensors that share memory with arrays.

    The label of a clip is its number, so that a batch says which clips it holds.
    """

    features: Rows  # (clips, steps, dim)
    mask: NDArray[np.bool_]  # (clips, steps)
    labels: Ints  # (clips,)


@dataclass(frozen=True, slots=True)
class Clips:
    """Synthetic clips in a folder: all rows in one plain file, and their lengths.

    Attributes
    ----------
    folder : Path
        Contestants keep their own copies below it.
    row_size : ndarray of int64, shape (clips,)
    dim : int
    """

    folder: Path
    row_size: Ints
    dim: int

    @property
    def offsets(self) -> Ints:
        """Clip i lies in rows ``offsets[i]:offsets[i + 1]``."""
        return np.concatenate([[0], np.cumsum(self.row_size)])

    @property
    def rows(self) -> Rows:
        """All rows, mapped: a plain array, for slices of np.memmap itself cost microseconds."""
        shape = (int(self.row_size.sum()), self.dim)
        return np.asarray(np.memmap(self.folder / "rows.f32", "<f4", "r", shape=shape))

    def each(self) -> Iterator[Rows]:
        """Yield the clips one by one."""
        rows, offsets = self.rows, self.offsets
        return (rows[offsets[i] : offsets[i + 1]] for i in range(len(self.row_size)))


@dataclass(frozen=True, slots=True)
class Size:
    """How much to generate: all clips have `low` to `high` steps."""

    clips: int
    low: int
    high: int
    dim: int
    seed: int


def generate(folder: Path, size: Size) -> Clips:
    """Draw clips into a folder, or find them there; stores are always written anew."""
    rng = np.random.default_rng(size.seed)
    row_size = rng.integers(size.low, size.high + 1, size.clips)
    note = folder / "size.json"
    if not (note.is_file() and json.loads(note.read_text("utf-8")) == asdict(size)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with (folder / "rows.f32").open("wb") as file:
            for steps in row_size:
                rng.standard_normal((int(steps), size.dim), np.float32).tofile(file)
        note.write_text(json.dumps(asdict(size)), "utf-8")
    for store in (folder / name for name in STORES.values()):
        store.unlink() if store.is_file() else shutil.rmtree(store, ignore_errors=True)
    return Clips(folder, row_size, size.dim)


def reference(clips: Clips, wanted: Ints, steps: int | None) -> Read:
    """Return what a contestant must deliver, by the plainest code that does it."""
    rows, offsets = clips.rows, clips.offsets
    width = int(clips.row_size[wanted].max()) if steps is None else steps
    features = np.zeros((len(wanted), width, clips.dim), np.float32)
    mask = np.zeros((len(wanted), width), np.bool_)
    for place, clip in enumerate(wanted):
        own = rows[offsets[clip] : offsets[clip + 1]]
        if steps is not None:
            own = own[[(2 * i + 1) * len(own) // (2 * steps) for i in range(steps)]]
        features[place, : len(own)] = own
        mask[place, : len(own)] = True
    return Read(features, mask, wanted)


def contents(row_size: Ints, dim: int, chunk_rows: int | None = None) -> Contents:
    """Return all of a store but its features, for clips of these lengths."""
    clips, steps = len(row_size), int(row_size.sum())
    zeros = np.zeros(clips, np.int64)
    stop = np.cumsum(row_size)
    columns = {
        "clip_id": np.array([f"clip/{i}" for i in range(clips)]),
        "row_size": row_size,
        "status": zeros,
        "label": np.arange(clips),
        "subject": zeros,
        "video": zeros,
        "split": zeros,
        "start": stop - row_size,
        "stop": stop,
        "label_name": np.array([f"label {i}" for i in range(clips)]),
        "subject_name": np.array(["nobody"]),
        "split_name": np.array(schema.PARTS),
        "video_name": np.array(["synthetic.mp4"]),
        "video_sha256": np.array(["00" * 32]),
        "video_range": np.array(["limited"]),
        "frame": np.arange(steps),
        "time": np.arange(steps) / 15,
    }
    attributes = {
        schema.SCHEMA_ATTRIBUTE: schema.VERSION,
        "key": "be" * 32,
        "title": "benchmark",
        "subjects_known": True,
        "features": {"dim": dim, "imported": "random numbers", "dtype": "float32"},
        "clips": {"train": clips, "val": 0, "test": 0},
    }
    layout = Layout(row_size, dim, chunk_rows or default_chunk_rows(dim, steps))
    return Contents(layout, columns, attributes)


def write_store(path: Path, clips: Clips) -> Path:
    """Write clips as a store with chunks of 8 MiB, in the suffix's format, unless it is there."""
    if not path.exists():
        made = contents(clips.row_size, clips.dim)
        writer = StoreWriter(path, made)
        for unit, (first, last) in enumerate(made.layout.units()):
            writer.write(unit, clips.rows[first:last])
        writer.seal()
    return path
