"""A sealed store, opened for reading."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore import schema
from featstore.errors import CorruptStoreError, StoreNotFoundError
from featstore.layout import Layout
from featstore.seal import ROOT_FILE, check_seal, check_small_files
from featstore.stream import Batch, Clips, gather, stream

# Python keeps a descriptor per map; few enough of them stay open for any usual limit.
OPEN_MAPS = 128


def read_attributes(path: Path) -> dict[str, Any]:
    """Return the root attributes of a sealed store, reading one small JSON file.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `path`.
    SchemaError
        If its schema cannot be read.
    CorruptStoreError
        If the attributes disagree with the seal.
    """
    root = path / ROOT_FILE
    if not root.is_file():
        raise StoreNotFoundError(
            f"There is no store at {path}; `featstore ls` lists the stores that are there."
        )
    try:
        attributes = json.loads(root.read_text("utf-8"))["attributes"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{root} is not the metadata of a Zarr group ({error}); restore the store from a copy "
            "or build it again."
        ) from None
    schema.check_version(attributes, str(path))
    check_seal(attributes, str(path))
    return dict(attributes)


def open_store(path: str | Path) -> Store:
    """Open a sealed store for reading.

    Parameters
    ----------
    path : str or Path
        The store's folder, which ends in ``.zarr``.

    Raises
    ------
    StoreNotFoundError, SchemaError, CorruptStoreError
        See `read_attributes`.
    """
    return Store(Path(path))


class Store:
    """Clips and their features; a sequence of read-only arrays of shape (steps, dim).

    Use `featstore.open`. Columns are numpy arrays, one entry a clip, in the store's order: by
    video, start, stop and clip id.

    Attributes
    ----------
    path : Path
    key : str
        The store key, 64 hexadecimal digits.
    attributes : dict
        Everything that the store says about itself; see ``docs/store-format.md``.
    title : str
    classes : tuple of str
        The class list; may hold classes without a clip.
    subjects_known : bool
        False where each video stands in for a subject.
    dim : int
        Length of a feature vector.
    clip_ids, subjects, videos, splits : ndarray of str, shape (clips,)
    labels : ndarray of int64, shape (clips,)
        Positions in `classes`.
    start, stop : ndarray of int64, shape (clips,)
        The interval ``[start, stop)`` in frames of the video.
    row_size : ndarray of int64, shape (clips,)
        Steps of each clip.
    status : ndarray of int8, shape (clips,)
        0 for clips whose features are whole; clips with any other status hold NaN.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attributes = read_attributes(path)
        check_small_files(path, self.attributes)
        self.key: str = self.attributes["key"]
        self.title: str = self.attributes["title"]
        self.subjects_known: bool = self.attributes["subjects_known"]
        columns = _read_columns(path)
        self.classes: tuple[str, ...] = tuple(columns["label_name"].tolist())
        self.clip_ids: NDArray[np.str_] = columns["clip_id"]
        self.subjects: NDArray[np.str_] = columns["subject_name"][columns["subject"]]
        self.videos: NDArray[np.str_] = columns["video_name"][columns["video"]]
        self.splits: NDArray[np.str_] = columns["split_name"][columns["split"]]
        self.labels = columns["label"].astype(np.int64)
        self.start: NDArray[np.int64] = columns["start"]
        self.stop: NDArray[np.int64] = columns["stop"]
        self.row_size: NDArray[np.int64] = columns["row_size"]
        self.status: NDArray[np.int8] = columns["status"]
        rows, self.dim = _chunk_shape(path)
        self._layout = Layout(self.row_size, self.dim, rows)
        self._frames: NDArray[np.int64] = columns["frame"]
        self._times: NDArray[np.float64] = columns["time"]
        self._maps: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        steps = self._layout.steps
        return f"<featstore.Store {self.title!r}: {len(self)} clips, {steps} x {self.dim} features>"

    def __getitem__(self, clip: int) -> NDArray[np.float32]:
        """Return one clip's features: read-only float32, shape (steps, dim).

        A view of the mapped file where the clip lies in one chunk, else a copy.
        """
        start, stop = self._rows(clip)
        size = self._layout.chunk_rows
        parts = [
            self._chunk(chunk)[max(0, start - chunk * size) : stop - chunk * size]
            for chunk in range(start // size, -(-stop // size))
        ]
        if len(parts) == 1:
            return parts[0]
        rows = np.concatenate(parts)
        rows.flags.writeable = False
        return rows

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[clip] for clip in range(len(self)))

    def frames(self, clip: int) -> NDArray[np.int64]:
        """Return the frame index of each of a clip's steps, shape (steps,)."""
        return self._frames[slice(*self._rows(clip))]

    def times(self, clip: int) -> NDArray[np.float64]:
        """Return the time of each of a clip's steps in seconds of the video, shape (steps,)."""
        return self._times[slice(*self._rows(clip))]

    def split(self, part: str) -> Clips:
        """Return the positions of the usable clips of ``train``, ``val`` or ``test``.

        Raises
        ------
        ValueError
            If there is no such part.
        """
        if part not in schema.PARTS:
            raise ValueError(f"part is {part!r}; it is one of {', '.join(schema.PARTS)}")
        return np.flatnonzero((self.splits == part) & (self.status == schema.STATUS_OK))

    def batch(self, clips: Clips, steps: int | None = None) -> Batch:
        """Gather clips into one batch; see `featstore.stream.gather`."""
        return gather(self, clips, steps)

    def stream(
        self,
        clips: Clips,
        *,
        batch_size: int,
        rng: np.random.Generator | None = None,
        probabilities: NDArray[np.float64] | None = None,
        steps: int | None = None,
    ) -> Iterator[Batch]:
        """Yield one epoch of batches; see `featstore.stream.stream`."""
        return stream(
            self, clips, batch_size=batch_size, rng=rng, probabilities=probabilities, steps=steps
        )

    def _rows(self, clip: int) -> tuple[int, int]:
        if not -len(self) <= clip < len(self):
            raise IndexError(f"clip {clip} of a store with {len(self)} clips")
        clip %= len(self)
        return int(self._layout.offsets[clip]), int(self._layout.offsets[clip + 1])

    def _chunk(self, number: int) -> NDArray[np.float32]:
        """Return the read-only map of one chunk file, keeping the most recently used ones."""
        if number in self._maps:
            self._maps.move_to_end(number)
            return self._maps[number]
        path = self.path / schema.FEATURES / "c" / str(number) / "0"
        shape = (self._layout.chunk_rows, self.dim)
        try:
            # A plain array over the map: slices of np.memmap itself cost microseconds each.
            mapped = np.asarray(np.memmap(path, "<f4", "r", shape=shape))
        except (OSError, ValueError) as error:
            raise CorruptStoreError(
                f"{path} cannot be read as a chunk of {shape[0]} x {shape[1]} float32 ({error}); "
                "restore the store from a copy or build it again."
            ) from None
        self._maps[number] = mapped
        if len(self._maps) > OPEN_MAPS:
            self._maps.popitem(last=False)
        return mapped


def _chunk_shape(path: Path) -> tuple[int, int]:
    metadata = json.loads((path / schema.FEATURES / ROOT_FILE).read_text("utf-8"))
    rows, dim = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    return rows, dim


def _read_columns(path: Path) -> dict[str, NDArray[Any]]:
    import zarr

    group = zarr.open_group(path, mode="r")
    names = (*schema.CLIP_COLUMNS, *schema.NAME_ARRAYS, *schema.STEP_COLUMNS)
    columns = {name: np.asarray(group[name][...]) for name in names}  # type: ignore[index]
    strings = ("clip_id", *schema.NAME_ARRAYS)
    return columns | {name: np.array(columns[name].tolist(), np.str_) for name in strings}
