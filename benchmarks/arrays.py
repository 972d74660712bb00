"""Contestants that read any clips at any time: numpy, featstore, zarr-python and h5py."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import RESAMPLED, STORES, Clips, Ints, Read, write_store

import featstore
from featstore.reading.stream import resampled

Reader = Callable[[Ints], Read]
CASES = ("equal", "ragged", "resampled")
ROWS, CLIPS, SLICES = "8 MiB chunks", "a clip a chunk", "8 MiB chunks, a slice a clip"


def indices(clips: Clips, wanted: Ints) -> Ints:
    """Return the rows of a batch resampled to `RESAMPLED` steps, shape (clips, steps)."""
    sizes = clips.row_size[wanted]
    return clips.offsets[wanted][:, None] + resampled(sizes[:, None], RESAMPLED)


def ones(wanted: Ints, width: int) -> Any:
    """Return the mask of clips without padding."""
    return np.ones((len(wanted), width), np.bool_)


def numpy_reader(clips: Clips, case: str) -> Reader:
    """Plain numpy on one map of all rows: what everything else is measured against."""
    rows, offsets, sizes = clips.rows, clips.offsets, clips.row_size
    labels = np.arange(len(sizes))
    steps = int(sizes[0])
    spread = np.stack([resampled(int(size), RESAMPLED) for size in range(int(sizes.max()) + 1)])

    def equal(wanted: Ints) -> Read:
        view = rows.reshape(len(sizes), steps, clips.dim)
        return Read(view[wanted], ones(wanted, steps), labels[wanted])

    def ragged(wanted: Ints) -> Read:
        own = sizes[wanted]
        width = int(own.max())
        features = np.zeros((len(wanted), width, clips.dim), np.float32)
        starts = offsets[wanted].tolist()
        for place, (start, size) in enumerate(zip(starts, own.tolist(), strict=True)):
            features[place, :size] = rows[start : start + size]
        return Read(features, np.arange(width) < own[:, None], labels[wanted])

    def resample(wanted: Ints) -> Read:
        index = offsets[wanted][:, None] + spread[sizes[wanted]]
        return Read(rows[index], ones(wanted, RESAMPLED), labels[wanted])

    return {"equal": equal, "ragged": ragged, "resampled": resample}[case]


def open_featstore(path: Path) -> Any:
    """Open a store by today's API; this and what calls it are all that knows it."""
    return featstore.open(path)


def featstore_path(clips: Clips, form: str) -> Path:
    """Return the clips' store in Zarr or HDF5, written if it is not there."""
    return write_store(clips.folder / STORES[form], clips)


def featstore_reader(clips: Clips, case: str, form: str) -> Reader:
    """Featstore's random access."""
    store = open_featstore(featstore_path(clips, form))
    steps = RESAMPLED if case == "resampled" else None

    def read(wanted: Ints) -> Read:
        batch = store.batch(wanted, steps)
        return Read(batch.features, batch.mask, batch.labels)

    return read


def featstore_stream(clips: Clips, form: str, batch_size: int) -> Callable[[int], Iterator[Read]]:
    """Featstore's own shuffled epochs of ragged clips, padded, one after the other."""
    store = open_featstore(featstore_path(clips, form))

    def epoch(seed: int) -> Iterator[Read]:
        rng = np.random.default_rng(seed)
        while True:
            for batch in store.stream(batch_size, rng):
                if len(batch.clips) == batch_size:  # the others leave out what is left as well
                    yield Read(batch.features, batch.mask, batch.labels)

    return epoch


def padded(clips: Clips) -> Iterator[tuple[int, Any]]:
    """Yield every clip with zeros behind it, as long as the longest."""
    width = int(clips.row_size.max())
    for clip, rows in enumerate(clips.each()):
        out = np.zeros((width, clips.dim), np.float32)
        out[: len(rows)] = rows
        yield clip, out


def zarr_array(clips: Clips, layout: str) -> Any:
    """Return zarr's array of all rows in 8 MiB chunks, or of padded clips, one a chunk."""
    zarr = importlib.import_module("zarr")
    if layout == ROWS:
        return zarr.open_group(featstore_path(clips, "Zarr"), mode="r")["features"]
    path = clips.folder / "clips.zarr"
    shape = (len(clips.row_size), int(clips.row_size.max()), clips.dim)
    if not path.exists():
        array = zarr.create_array(
            path, shape=shape, chunks=(1, *shape[1:]), dtype="float32", compressors=None
        )
        for clip, rows in padded(clips):
            array[clip] = rows
    return zarr.open_array(path, mode="r")


def h5py_array(clips: Clips, layout: str) -> Any:
    """Return h5py's dataset of all rows in 8 MiB chunks, or of padded clips, one a chunk."""
    h5py = importlib.import_module("h5py")
    if layout == ROWS:
        return h5py.File(featstore_path(clips, "HDF5"), "r")["features"]
    path = clips.folder / "clips.h5"
    shape = (len(clips.row_size), int(clips.row_size.max()), clips.dim)
    if not path.exists():
        with h5py.File(path, "w") as file:
            array = file.create_dataset("features", shape, "f4", chunks=(1, *shape[1:]))
            for clip, out in padded(clips):
                array[clip] = out
    return h5py.File(path, "r")["features"]


def library_reader(clips: Clips, case: str, library: str, layout: str) -> Reader:
    """The library's own indexing: fancy, in one call a batch, or a slice a clip."""
    array = {"zarr": zarr_array, "h5py": h5py_array}[library](clips, layout.partition(",")[0])
    if layout.endswith("a slice a clip"):
        return _from_slices(clips, case, array)
    fancy = {"zarr": lambda index: array.oindex[index], "h5py": lambda index: _sorted(array, index)}
    return (_from_rows if layout == ROWS else _from_clips)(clips, case, fancy[library])


def _sorted(array: Any, index: Ints) -> Any:
    """h5py wants increasing indices; put what it returns back into order."""
    order = np.argsort(index)
    out = np.empty((len(index), *array.shape[1:]), np.float32)
    out[order] = array[index[order]]
    return out


def _from_rows(clips: Clips, case: str, fancy: Callable[[Ints], Any]) -> Reader:
    offsets, sizes = clips.offsets, clips.row_size

    def read(wanted: Ints) -> Read:
        if case == "resampled":
            rows = fancy(indices(clips, wanted).ravel())
            features = rows.reshape(len(wanted), RESAMPLED, clips.dim)
            return Read(features, ones(wanted, RESAMPLED), wanted)
        own = sizes[wanted]
        starts = zip(offsets[wanted], own, strict=True)
        rows = fancy(np.concatenate([np.arange(start, start + size) for start, size in starts]))
        if case == "equal":
            features = rows.reshape(len(wanted), -1, clips.dim)
            return Read(features, ones(wanted, features.shape[1]), wanted)
        mask = np.arange(own.max()) < own[:, None]
        features = np.zeros((*mask.shape, clips.dim), np.float32)
        features[mask] = rows
        return Read(features, mask, wanted)

    return read


def _from_clips(clips: Clips, case: str, fancy: Callable[[Ints], Any]) -> Reader:
    sizes = clips.row_size

    def read(wanted: Ints) -> Read:
        whole = fancy(wanted)
        own = sizes[wanted]
        if case == "resampled":
            index = resampled(own[:, None], RESAMPLED)
            features = whole[np.arange(len(wanted))[:, None], index]
            return Read(features, ones(wanted, RESAMPLED), wanted)
        width = int(own.max())
        return Read(whole[:, :width], np.arange(width) < own[:, None], wanted)

    return read


def _from_slices(clips: Clips, case: str, array: Any) -> Reader:
    offsets, sizes = clips.offsets, clips.row_size

    def read(wanted: Ints) -> Read:
        own = sizes[wanted]
        width = RESAMPLED if case == "resampled" else int(own.max())
        features = np.zeros((len(wanted), width, clips.dim), np.float32)
        for place, clip in enumerate(wanted.tolist()):
            rows = array[offsets[clip] : offsets[clip + 1]]
            if case == "resampled":
                features[place] = rows[resampled(len(rows), RESAMPLED)]
            else:
                features[place, : len(rows)] = rows
        if case == "resampled":
            return Read(features, ones(wanted, RESAMPLED), wanted)
        return Read(features, np.arange(width) < own[:, None], wanted)

    return read
