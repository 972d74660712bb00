"""The content of a store to write, except its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.format.codecs import Codec
from featstore.format.layout import Layout
from featstore.format.schema import PARTS, UNLABELLED
from featstore.keys import ClipKey


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in a store except features; complete before the first frame is decoded.

    Attributes
    ----------
    layout : Layout
    columns : mapping of str to ndarray
        Every array of ``schema.ARRAYS``.
    attributes : mapping
        Root attributes without the seal; JSON.
    codec : Codec
        The codec of stored features.
    """

    layout: Layout
    columns: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, Any]
    codec: Codec = field(default_factory=Codec)


def columns_of(
    clips: Sequence[ClipKey],
    *,
    classes: Sequence[str],
    status: Sequence[int],
    videos: Sequence[tuple[str, str, str]],
    video: Sequence[int],
    frames: Sequence[NDArray[np.int64]],
    times: Sequence[NDArray[np.float64]],
) -> dict[str, NDArray[Any]]:
    """Return every array of a store except features; see ``docs/store-format.md``.

    Parameters
    ----------
    clips : sequence of ClipKey
        In the order of the store.
    classes : sequence of str
    status : sequence of int
        `STATUS_OK` or `STATUS_FAILED` for each clip.
    videos : sequence of (str, str, str)
        Name, content and pixel range of every video; the last two as in `ClipKey`.
    video : sequence of int
        The position in `videos` of each clip's video.
    frames, times : sequence of ndarray
        Frame number and seconds of every step of each clip.
    """
    subjects = sorted({clip.subject for clip in clips})
    names = {"label": classes, "subject": subjects, "split": PARTS}
    numbers = {
        field: {name: number for number, name in enumerate(values)}
        for field, values in names.items()
    }
    numbers["label"][""] = UNLABELLED
    video_names, contents, ranges = zip(*videos, strict=True)
    return {
        "clip_id": np.array([clip.clip_id for clip in clips]),
        "row_size": np.array([len(steps) for steps in frames], np.int64),
        "status": np.array(status, np.int8),
        "video": np.array(video, np.int32),
        "start": np.array([clip.start for clip in clips], np.int64),
        "stop": np.array([clip.stop for clip in clips], np.int64),
        **{
            field: np.array([number_of[getattr(clip, field)] for clip in clips])
            for field, number_of in numbers.items()
        },
        **{f"{field}_name": np.array(values) for field, values in names.items()},
        "video_name": np.array(video_names),
        "video_sha256": np.array(contents),
        "video_range": np.array(ranges),
        "frame": np.concatenate(frames),
        "time": np.concatenate(times),
    }
