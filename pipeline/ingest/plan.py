"""What an import is asked for, and what it is to make; nothing is read or written here."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_arrays import ClipArray
from featstore.format import schema
from featstore.format.codecs import Codec
from featstore.keys import ClipKey
from featstore.manage.catalogue import DEFAULT_STORE_ROOT, is_built, store_path
from featstore.writing.destinations import SUFFIX_OF
from pipeline.option_values import check_storage
from pipeline.sources.base import SPLITS, Annotation, Dataset

# The feature configuration's word for features whose extraction is not known.
IMPORTED = "arrays"
UNKNOWN_RANGE = "unknown"


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Everything that ``featstore import`` can be told.

    Attributes
    ----------
    source : Path
        A folder of ``.npy`` files, one a clip, or one ``.npy`` of all clips.
    labels : Path
        CSV with a row a clip.
    store : Path
        Folder of stores.
    name : str or None
        Title, and what the store's name begins with.
    classes : Path or None
        Class list.
    dtype : str or None
        None: float16 where every array is, else float32.
    format, compression : str
    fps : Fraction or None
        Steps a second, where no file has times.
    suffix : str or None
        What follows the clip id in file names.
    allow_unlisted : bool
        Leave files without a row out.
    """

    source: Path
    labels: Path
    store: Path = DEFAULT_STORE_ROOT
    name: str | None = None
    classes: Path | None = None
    dtype: str | None = None
    format: str = "zarr"
    compression: str = "none"
    fps: Fraction | None = None
    suffix: str | None = None
    allow_unlisted: bool = False

    def __post_init__(self) -> None:
        if (self.store / "zarr.json").exists():
            raise InputError(
                f"--store is {self.store}, which is a store; give the folder around it."
            )
        check_storage(self.format, self.compression)
        _ = Codec(self.dtype or "float32", self.compression)


@dataclass(frozen=True, slots=True)
class ImportedClip:
    """One clip of an import, its content read and found good.

    Attributes
    ----------
    annotation : Annotation
    array : ClipArray
    start, stop : int
    frame, time : ndarray, shape (steps,)
    status : int
    sha256 : str
        Of all that the arrays say of this clip: shape, features, frames, times and status.
    rounded : float
        Largest relative error of float64 that float32 does not hold.
    """

    annotation: Annotation
    array: ClipArray
    start: int
    stop: int
    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    status: int
    sha256: str
    rounded: float

    def key(self) -> ClipKey:
        """Return what a store key covers of this clip."""
        own = self.annotation
        interval = (self.start, self.stop)
        return ClipKey(
            own.clip_id, self.sha256, UNKNOWN_RANGE, *interval, own.label, own.subject, own.split
        )


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import is to make.

    Attributes
    ----------
    options : ImportOptions
    dataset : Dataset
    clips : list of ImportedClip
        In the order of the store.
    codec : Codec
    key : str
    notes : list of str
        What to say, besides the notes of `dataset`.
    """

    options: ImportOptions
    dataset: Dataset
    clips: list[ImportedClip]
    codec: Codec
    key: str
    notes: list[str]

    @property
    def path(self) -> Path:
        """Where the store lies, or would lie."""
        slug = re.sub(r"[^A-Za-z0-9_.]+", "-", self.dataset.title).strip("-.") or "imported"
        return store_path(self.options.store, slug, self.key, SUFFIX_OF[self.options.format])

    @property
    def there(self) -> bool:
        """Whether the sealed store is there."""
        return is_built(self.path, self.key)

    def attributes(self) -> dict[str, Any]:
        """Return the root attributes, but for the shape of the features."""
        parts = Counter(clip.annotation.split for clip in self.clips)
        return {
            schema.SCHEMA_ATTRIBUTE: schema.VERSION,
            "key": self.key,
            "title": self.dataset.title,
            "features": configuration(self.codec),
            "statistics": {"origin": "imported", "mean": [], "std": []},
            "subjects_known": self.dataset.subjects_known,
            "untrained": False,
            "clips": {part: parts[part] for part in SPLITS},
            "repeated_last_frame": 0,
        }

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return every array but the features; every clip's content counts as one video's."""
        clips = self.clips
        notes = [clip.annotation for clip in clips]
        subjects = sorted({own.subject for own in notes})
        names = {"label": self.dataset.classes, "subject": tuple(subjects), "split": SPLITS}
        numbers = {
            column: {name: number for number, name in enumerate(known)}
            for column, known in names.items()
        }
        return {
            "clip_id": np.array([own.clip_id for own in notes]),
            "row_size": np.array([clip.array.steps for clip in clips], np.int64),
            "status": np.array([clip.status for clip in clips], np.int8),
            "video": np.arange(len(clips), dtype=np.int32),
            "start": np.array([clip.start for clip in clips], np.int64),
            "stop": np.array([clip.stop for clip in clips], np.int64),
            **{
                column: np.array([known[getattr(own, column)] for own in notes])
                for column, known in numbers.items()
            },
            **{f"{column}_name": np.array(known) for column, known in names.items()},
            "video_name": np.array([own.video for own in notes]),
            "video_sha256": np.array([clip.sha256 for clip in clips]),
            "video_range": np.array([UNKNOWN_RANGE] * len(clips)),
            "frame": np.concatenate([clip.frame for clip in clips]),
            "time": np.concatenate([clip.time for clip in clips]),
        }


def configuration(codec: Codec) -> dict[str, Any]:
    """Return the feature configuration of imported features; their content is in the clips."""
    return {"imported": IMPORTED, "dtype": codec.dtype}
