"""Open a sealed store for reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import CorruptStoreError
from featstore.format import schema
from featstore.format.container import Container
from featstore.format.layout import Layout
from featstore.format.opening import open_container
from featstore.format.rows import Rows, rows_of
from featstore.keys import RARE, ClipKey
from featstore.reading.stream import Batch, gather, stream
from featstore.types import Clips
from featstore.urls import without_credentials

if TYPE_CHECKING:
    import pandas
    import xarray

    from featstore.reading.torch_dataset import TorchDataset


def open_store(path: str | Path, *, check: bool = False) -> Store:
    """Open a sealed store for reading.

    Parameters
    ----------
    path : str or Path
        A folder named ``*.zarr``, an HDF5 file, a zip archive of a Zarr store, or a URL such
        as ``s3://bucket/name.zarr``.
    check : bool
        Compare each chunk of features with its checksum on its first read. Compressed and remote
        chunks are always compared.

    Raises
    ------
    StoreNotFoundError
        If there is no store.
    SchemaError
        If this version cannot read its schema.
    CorruptStoreError
        If the store was changed after it was sealed.
    """
    container = open_container(path)
    try:
        return Store(container, check=check)
    except CorruptStoreError:
        # A repair may have replaced the store meanwhile.
        newer = open_container(path)
        if newer.attributes == container.attributes:
            raise
        return Store(newer, check=check)


class Store:
    """Clips and their features; a sequence of read-only arrays of shape (steps, dim).

    Use `featstore.open`. Columns are numpy arrays with one entry per clip, sorted by video, start,
    stop and clip id. Unpickling a store opens its path again.

    Attributes
    ----------
    path : Path or str
        A path, or the URL of a remote store.
    key : str
        The store key, 64 hexadecimal digits.
    attributes : dict
        The root attributes; see ``docs/store-format.md``.
    title : str
    classes : tuple of str
        The class list; it may include classes without clips.
    subjects_known : bool
        False if each video counts as a subject.
    dim : int
        Length of a feature vector.
    dtype : {"float32", "float16"}
        The dtype of stored features.
    clip_ids, subjects, videos, splits : ndarray of str, shape (clips,)
    labels : ndarray of int64, shape (clips,)
        Positions in `classes`; -1 for a clip without a label.
    start, stop : ndarray of int64, shape (clips,)
        The interval ``[start, stop)`` in frames of the video.
    row_size : ndarray of int64, shape (clips,)
        Steps of each clip.
    status : ndarray of int8, shape (clips,)
        0 for clips with complete features; clips with any other status hold NaN.
    layout : Layout
        Row and chunk offsets of each clip.
    """

    def __init__(self, container: Container, *, check: bool = False) -> None:
        self.container, self._check = container, check
        self.dtype = container.codec.dtype
        chunk_rows, dim = container.chunk_shape
        location, attributes = container.location, container.attributes
        self._describe(location, attributes, container.columns(), dim, chunk_rows)

    def _describe(
        self,
        path: Path | str,
        attributes: dict[str, Any],
        columns: Mapping[str, NDArray[Any]],
        dim: int,
        chunk_rows: int,
    ) -> None:
        """Set the public attributes from the root attributes and columns."""
        self.path = path if isinstance(path, Path) else without_credentials(path)
        self.attributes = attributes
        self.key: str = attributes["key"]
        self.title: str = attributes["title"]
        self.subjects_known: bool = attributes["subjects_known"]
        self.columns = columns
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
        for column in (*vars(self).values(), *columns.values()):
            if isinstance(column, np.ndarray):
                column.flags.writeable = False
        self.dim = dim
        self.layout = Layout(self.row_size, dim, chunk_rows)

    @property
    def stores(self) -> tuple[Store, ...]:
        """The stores that this one reads: itself, or those that `featstore.fuse` joined."""
        return (self,)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Clip ``i`` lies in rows ``offsets[i]:offsets[i + 1]``; shape (clips + 1,)."""
        return self.layout.offsets

    @cached_property
    def rows(self) -> Rows:
        """The rows of all clips, concatenated; opened on first use."""
        return rows_of(self.container, self.layout, checked=self._check)

    @property
    def label_names(self) -> list[str]:
        """The label of each clip; an empty text for a clip without one."""
        names = [*self.classes, ""]  # position -1 is the last
        return [names[label] for label in self.labels.tolist()]

    @cached_property
    def usable(self) -> Clips:
        """Positions of the clips with complete features."""
        return np.flatnonzero(self.status == schema.STATUS_OK)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        shape = f"{int(self.offsets[-1])} x {self.dim}"
        return f"<featstore.Store {self.title!r}: {len(self)} clips, {shape} features>"

    def __reduce__(self) -> tuple[Any, ...]:
        location = self.container.location  # includes the credentials of a URL, unlike `path`
        return _reopen, (
            location.absolute() if isinstance(location, Path) else location,
            self._check,
        )

    def __getitem__(self, clip: int) -> NDArray[np.float32]:
        """Return one clip's features: read-only, of the stored dtype, shape (steps, dim).

        A view of the mapped file if the store is local and uncompressed; otherwise a view or a
        copy of decoded chunks.
        """
        return self.rows.span(*self._span(clip))

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[clip] for clip in range(len(self)))

    def frames(self, clip: int) -> NDArray[np.int64]:
        """Return the frame index of each of a clip's steps, shape (steps,)."""
        return self.columns["frame"][slice(*self._span(clip))]

    def times(self, clip: int) -> NDArray[np.float64]:
        """Return the time of each of a clip's steps in seconds of the video, shape (steps,)."""
        return self.columns["time"][slice(*self._span(clip))]

    def split(self, part: str) -> Clips:
        """Return the positions of the usable clips of ``train``, ``val`` or ``test``.

        Raises
        ------
        ValueError
            If `part` is unknown.
        """
        if part not in schema.PARTS:
            raise ValueError(f"part is {part!r}; it is one of {', '.join(schema.PARTS)}")
        return np.flatnonzero((self.splits == part) & (self.status == schema.STATUS_OK))

    def batch(self, clips: Clips, steps: int | None = None) -> Batch:
        """Gather clips into one batch; see `featstore.reading.stream.gather`."""
        return gather(self, clips, steps)

    def stream(
        self,
        batch_size: int,
        seed: int | np.random.Generator | None = None,
        *,
        clips: Clips | None = None,
        probabilities: NDArray[np.float64] | None = None,
        steps: int | None = None,
    ) -> Iterator[Batch]:
        """Yield one epoch of batches; see `featstore.reading.stream.stream`."""
        return stream(self, batch_size, seed, clips=clips, probabilities=probabilities, steps=steps)

    def torch_dataset(self, part: str | None = None, *, steps: int | None = None) -> TorchDataset:
        """Return the clips of a part, or all, as a map-style ``torch.utils.data.Dataset``.

        See `featstore.reading.torch_dataset.TorchDataset`.
        """
        from featstore.reading.torch_dataset import TorchDataset

        clips = self.usable if part is None else self.split(part)
        return TorchDataset(self, clips, steps)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the columns as a DataFrame with one row per clip, indexed by store position."""
        import pandas

        columns = {
            "clip_id": self.clip_ids,
            "video": self.videos,
            "start": self.start,
            "stop": self.stop,
            "label": self.label_names,
            "subject": self.subjects,
            "split": self.splits,
            "steps": self.row_size,
            "status": self.status,
        }
        return pandas.DataFrame(columns).rename_axis("clip")

    def to_xarray(self) -> xarray.Dataset:
        """Return all arrays as a dataset of the CF contiguous ragged layout.

        Local uncompressed features stay on disk; compressed and remote features are read
        completely.
        """
        import xarray

        arrays = {
            name: (dimension, self.columns[name], attributes)
            for name, (_, dimension, attributes) in schema.ARRAYS.items()
        }
        features = self.rows.span(0, self.layout.steps)
        plain = {k: v for k, v in self.attributes.items() if k not in ("seal", "seal_sha256")}
        return xarray.Dataset({"features": (("step", "feature"), features), **arrays}, attrs=plain)

    def clip_keys(self) -> list[ClipKey]:
        """Return the fields of each clip that the store key covers."""
        columns = self.columns
        videos = columns["video"]
        shown, begins = (self.attributes.get(name, {}) for name in RARE)
        rows = zip(
            self.clip_ids.tolist(),
            columns["video_sha256"][videos].tolist(),
            columns["video_range"][videos].tolist(),
            self.start.tolist(),
            self.stop.tolist(),
            self.label_names,
            self.subjects.tolist(),
            self.splits.tolist(),
            [shown.get(clip_id, "") for clip_id in self.clip_ids.tolist()],
            [begins.get(video, "") for video in columns["video_name"][videos].tolist()],
            strict=True,
        )
        return [ClipKey(*clip) for clip in rows]

    def _span(self, clip: int) -> tuple[int, int]:
        if not -len(self) <= clip < len(self):
            raise IndexError(f"clip {clip} is not in the store, which has {len(self)} clips")
        clip %= len(self)
        return int(self.offsets[clip]), int(self.offsets[clip + 1])


def _reopen(path: str | Path, check: bool) -> Store:
    return open_store(path, check=check)
