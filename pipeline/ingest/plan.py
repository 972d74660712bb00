"""The options and the plan of an import; nothing is read or written here."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_arrays import ClipArray
from featstore.format import schema
from featstore.format.codecs import Codec
from featstore.format.contents import columns_of
from featstore.keys import ClipKey
from featstore.manage.catalogue import DEFAULT_STORE_ROOT, is_built, store_path
from featstore.writing.destinations import SUFFIX_OF
from pipeline.option_values import check_storage
from pipeline.sources.base import SPLITS, Annotation, Dataset
from pipeline.sources.draft import Draft
from pipeline.sources.labels import ClassList

# The feature configuration of features with an unknown extraction.
IMPORTED = "arrays"
UNKNOWN_RANGE = "unknown"


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """All options of ``featstore import``.

    Attributes
    ----------
    source : Path
        A folder of features, or one ``.npy`` of all clips.
    labels : Path or None
        CSV with one row per clip, or ActivityNet's JSON. None: `source` holds the labels, as
        class folders or in the layout of MS-TCN.
    store : Path
        Folder of stores.
    name : str or None
        Title, and prefix of the store's name.
    classes : Path or None
        Class list.
    dtype : str or None
        None: float16 if all arrays are float16, else float32.
    format, compression : str
    fps : Fraction or None
        Steps per second, for clips without a file of times.
    suffix : str or None
        Suffix after the clip id in file names.
    allow_unlisted : bool
        Skip files without a row.
    allow_missing : bool
        Skip clips without a file.
    split : int or None
        Number of MS-TCN's split.
    folds, fold : int or None
        Split by subject into equal folds instead, and the number of the test fold.
    subject : str or None
        Regular expression whose one group is the subject in a video's name.
    """

    source: Path
    labels: Path | None = None
    store: Path = DEFAULT_STORE_ROOT
    name: str | None = None
    classes: Path | None = None
    dtype: str | None = None
    format: str = "zarr"
    compression: str = "none"
    fps: Fraction | None = None
    suffix: str | None = None
    allow_unlisted: bool = False
    allow_missing: bool = False
    split: int | None = None
    folds: int | None = None
    fold: int | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        if (self.store / "zarr.json").exists():
            raise InputError(f"--stores is {self.store}, which is a store; pass its parent folder.")
        check_storage(self.format, self.compression)
        _ = Codec(self.dtype or "float32", self.compression)


@dataclass(frozen=True, slots=True)
class ListedClip:
    """One clip of a layout, before its values are read.

    Attributes
    ----------
    draft : Draft
    array : ClipArray
    frame, time : ndarray, shape (steps,)
        Unknown times are NaN.
    status : int
    """

    draft: Draft
    array: ClipArray
    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    status: int = schema.STATUS_OK


@dataclass(frozen=True, slots=True)
class Listing:
    """All clips of a layout.

    Attributes
    ----------
    title : str
    clips : list of ListedClip
    classes : ClassList or None
    notes : list of str
    any_character : bool
        Whether labels and subjects may hold control characters, as in a store.
    """

    title: str
    clips: list[ListedClip]
    classes: ClassList | None = None
    notes: list[str] = field(default_factory=list)
    any_character: bool = False


@dataclass(frozen=True, slots=True)
class ImportedClip:
    """One clip of an import, with checked content.

    Attributes
    ----------
    annotation : Annotation
    array : ClipArray
    start, stop : int
    frame, time : ndarray, shape (steps,)
    status : int
    sha256 : str
        Of the clip's content: shape, features, frames, times and status.
    rounded : float
        Largest relative error of rounding float64 to float32.
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
        """Return the fields of this clip that a store key covers."""
        annotation = self.annotation
        interval = (self.start, self.stop)
        return ClipKey(
            annotation.clip_id,
            self.sha256,
            UNKNOWN_RANGE,
            *interval,
            annotation.label,
            annotation.subject,
            annotation.split,
        )


@dataclass(frozen=True, slots=True)
class Imported:
    """The plan of an import.

    Attributes
    ----------
    options : ImportOptions
    dataset : Dataset
    clips : list of ImportedClip
        In the order of the store.
    codec : Codec
    key : str
    notes : list of str
        Notes in addition to those of `dataset`.
    """

    options: ImportOptions
    dataset: Dataset
    clips: list[ImportedClip]
    codec: Codec
    key: str
    notes: list[str]

    @property
    def path(self) -> Path:
        """The path of the store, whether it exists or not."""
        slug = re.sub(r"[^A-Za-z0-9_.]+", "-", self.dataset.title).strip("-.") or "imported"
        return store_path(self.options.store, slug, self.key, SUFFIX_OF[self.options.format])

    @property
    def there(self) -> bool:
        """Whether the sealed store exists."""
        return is_built(self.path, self.key)

    def attributes(self) -> dict[str, Any]:
        """Return the root attributes, without the shape of the features."""
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
        """Return all arrays except features; each clip's content counts as a video."""
        clips = self.clips
        return columns_of(
            [clip.key() for clip in clips],
            classes=self.dataset.classes,
            status=[clip.status for clip in clips],
            videos=[(clip.annotation.video, clip.sha256, UNKNOWN_RANGE) for clip in clips],
            video=range(len(clips)),
            frames=[clip.frame for clip in clips],
            times=[clip.time for clip in clips],
        )


def configuration(codec: Codec) -> dict[str, Any]:
    """Return the feature configuration of imported features; the clips hold their hashes."""
    return {"imported": IMPORTED, "dtype": codec.dtype}
