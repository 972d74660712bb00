"""Small stores of known content."""

from pathlib import Path

import numpy as np

from featstore.format import schema
from featstore.format.codecs import Codec
from featstore.format.contents import Contents
from featstore.format.layout import Layout
from featstore.writing.writer import StoreWriter

SIZES = [3, 4, 2, 6, 1]
DIM = 4


def contents(
    sizes=SIZES, *, dim=DIM, chunk_rows=5, key="ab" * 32, codec: Codec | None = None, **attributes
) -> Contents:
    """A store of ragged clips, of three classes of which the last has no clip."""
    clips, steps = len(sizes), sum(sizes)
    number = np.arange(clips)
    columns = {
        "clip_id": np.array([f"run/é{i}" for i in number]),
        "row_size": np.array(sizes),
        "status": np.zeros(clips, np.int8),
        "label": number % 2,
        "subject": number % 3,
        "video": np.zeros(clips, np.int32),
        "split": number % 3,
        "start": np.cumsum([0, *sizes[:-1]]),
        "stop": np.cumsum(sizes),
        "label_name": np.array(["sit", "walk", "never"]),
        "subject_name": np.array(["ann", "bob", "cid"]),
        "split_name": np.array(["train", "val", "test"]),
        "video_name": np.array(["v.mp4"]),
        "video_sha256": np.array(["00" * 32]),
        "video_range": np.array(["limited"]),
        "frame": np.arange(steps) * 3,
        "time": np.arange(steps) / 10,
    }
    stated = {
        schema.SCHEMA_ATTRIBUTE: schema.VERSION,
        "key": key,
        "title": "test",
        "subjects_known": True,
        "features": {"size": 224},
        "clips": {"train": 2, "val": 2, "test": 1},
    }
    layout = Layout(np.array(sizes), dim, chunk_rows)
    return Contents(layout, columns, stated | attributes, codec or Codec())


def features(sizes=SIZES, dim=DIM) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(sum(sizes), dim)).astype(np.float32)


def write_store(path: Path, made: Contents | None = None) -> Path:
    made = made or contents()
    writer = StoreWriter(path, made)
    rows = features(made.layout.row_size.tolist(), made.layout.dim)
    for number, (first, last) in enumerate(made.layout.units()):
        writer.write(number, rows[first:last])
    writer.seal()
    return path
