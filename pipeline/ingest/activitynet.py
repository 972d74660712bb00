"""List the annotated segments of ActivityNet's JSON, with one file of features per video.

The format is that of http://activity-net.org (Caba Heilbron et al., 2015, "ActivityNet: A
Large-Scale Video Benchmark for Human Activity Understanding"), which OpenTAD and ActionFormer
also use for THUMOS14, HACS and others::

    {"database": {"VIDEO": {"subset": "training", "duration": 82.7,
                            "annotations": [{"segment": [6.2, 77.4], "label": "..."}]}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_arrays import FileArray, one_clip
from featstore.json_text import read_object
from featstore.text import count_of
from pipeline.ingest.clip_file import ClipFile
from pipeline.ingest.files import find_files, named_by_id, skip_unlisted, stems_below
from pipeline.ingest.plan import ImportOptions, ListedClip, Listing
from pipeline.sources.base import Split
from pipeline.sources.draft import Draft

SUBSETS: dict[str, Split] = {
    "training": "train", "train": "train",
    "validation": "val", "val": "val",
    "testing": "test", "test": "test",
}  # fmt: skip
PREFIX = "v_"  # of feature files, where the JSON has bare ids


class Segment(NamedTuple):
    """One annotation: its position in the video's list, seconds and label."""

    number: int
    start: float
    stop: float
    label: str


class Video(NamedTuple):
    """One annotated video of the JSON."""

    where: str
    name: str
    part: Split
    seconds: float | None
    segments: list[Segment]


def list_activitynet(options: ImportOptions, labels: Path) -> Listing:
    """Return every annotated segment as a clip, called ``VIDEO/number``.

    A clip has the steps whose middles are in the segment, and at least one. The times of steps
    are those of ``_timestamps_ms``, of ``--fps``, or spread evenly over the video's duration.
    Videos without annotations are left out.

    Raises
    ------
    InputError
        If the JSON has another form, or a video has no file.
    """
    source = options.source
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; pass the folder of features.")
    database = _database(labels)
    videos, notes = _videos(labels, database)
    videos, more = _with_test(videos, use=options.folds is None)
    notes += more
    stems = stems_below(source)
    if all(stem.startswith(PREFIX) for stem in stems) and not all(
        name.startswith(PREFIX) for name in database
    ):
        stems = {stem.removeprefix(PREFIX): path for stem, path in stems.items()}
    ids = [(video.where, video.name) for video in videos]
    named, others = named_by_id(source, stems, ids, options.suffix)
    files, more = find_files(source, stems, named, allow_missing=options.allow_missing)
    suffix = named[0].stem.removeprefix(named[0].clip_id)
    listed = {*others, *(f"{name}{suffix}" for name in database)}
    notes += [*more, *skip_unlisted(labels, stems, listed, allow=options.allow_unlisted)]
    clips = []
    for video, file in zip(videos, files, strict=True):
        if file is not None:
            clips += _clips(video, file, one_clip(file.path), options.fps)
    return Listing(source.resolve().name, clips, notes=notes)


def _database(labels: Path) -> Mapping[str, Any]:
    try:
        database = read_object(labels)["database"]
        if not isinstance(database, dict) or not all(map(_is_entry, database.values())):
            raise TypeError('"database" must map every video to {"subset": ..., "annotations": []}')
    except FileNotFoundError:
        raise InputError(f"{labels} does not exist; check the path") from None
    except OSError as error:
        raise InputError(f"{labels} cannot be read: {error.strerror}; check the path") from None
    except KeyError:
        raise InputError(f'{labels} has no "database", as ActivityNet\'s JSON has') from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{labels} is not ActivityNet's JSON: {error}; correct it") from None
    return database


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("subset"), str)
        and isinstance(entry.get("annotations", []), list)
    )


def _videos(labels: Path, database: Mapping[str, Any]) -> tuple[list[Video], list[str]]:
    """Return the videos with annotations, and notes on annotations that are left out."""
    videos = []
    empty = repeated = 0
    for name, entry in database.items():
        where = f'{labels} "{name}"'
        segments = [
            _segment(number, annotation, where)
            for number, annotation in enumerate(entry.get("annotations", []))
        ]
        once = list({segment[1:]: segment for segment in reversed(segments)}.values())[::-1]
        kept = [segment for segment in once if segment.start < segment.stop]
        repeated, empty = repeated + len(segments) - len(once), empty + len(once) - len(kept)
        if not kept:
            continue
        part = SUBSETS.get(entry["subset"].casefold())
        if part is None:
            raise InputError(
                f'{where}: subset "{entry["subset"]}" is unknown; write training, validation or '
                "testing"
            )
        seconds = entry.get("duration", entry.get("duration_second"))
        known = isinstance(seconds, (int, float)) and 0 < seconds < float("inf")
        videos.append(Video(where, name, part, float(seconds) if known else None, kept))
    if not videos:
        raise InputError(f"{labels} has no annotated segment; pass a file with annotations")
    counts = [(repeated, "repeated annotation"), (empty, "annotation without a duration")]
    return videos, [f"skipped: {count_of(count, what)}" for count, what in counts if count]


def _segment(number: int, annotation: Any, where: str) -> Segment:
    try:
        start, stop = (float(seconds) for seconds in annotation["segment"])
        label = annotation["label"]
        if not isinstance(label, str) or not label:
            raise TypeError(f"the label is {label!r}")
        if not abs(start) < float("inf") or not abs(stop) < float("inf"):
            raise ValueError(f"the segment is [{start}, {stop}]")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'{where}: annotation {number} is not {{"segment": [start, end], "label": ...}} with '
            f"seconds and a name ({error!r}); correct it"
        ) from None
    return Segment(number, start, stop, label)


def _with_test(videos: list[Video], *, use: bool) -> tuple[list[Video], list[str]]:
    """Return the videos with a test part: of two annotated subsets, the later one is test.

    ActivityNet hides the annotations of its testing videos, and THUMOS14 trains on validation.
    """
    parts = {video.part for video in videos}
    if not use or parts in ({"train", "val", "test"}, {"train", "test"}) or len(parts) < 2:
        return videos, []
    moved: dict[Split, Split] = (
        {"train": "train", "val": "test"} if "train" in parts else {"val": "train", "test": "test"}
    )
    old, new = ("validation", "test") if "train" in parts else ("validation", "train")
    note = f"The subset {old} is {new}: only two subsets have annotations."
    return [video._replace(part=moved[video.part]) for video in videos], [note]


def _clips(
    video: Video, file: ClipFile, array: FileArray, fps: Fraction | None
) -> list[ListedClip]:
    """Return a clip for every segment of a video."""
    times: NDArray[np.floating[Any]]
    middles: NDArray[np.floating[Any]]
    if file.times is not None:
        times = middles = file.seconds(array.steps, fps)
        length = float(times[-1] - times[0]) / max(1, array.steps - 1)
    else:
        length = _step_length(video, array, fps)
        times = np.arange(array.steps) * length
        middles = times + length / 2
    clips = []
    for segment in video.segments:
        where = f"{video.where} annotation {segment.number}"
        if segment.start < 0:
            raise InputError(f"{where} starts at {segment.start:g} s; correct the segment")
        if segment.start > times[-1] + 3 * length:  # the last steps of a video may be missing
            raise InputError(
                f"{where} starts at {segment.start:g} s, but the features of {array.path.name} end "
                f"at {times[-1] + length:g} s; correct the segment, or --fps, the steps per second"
            )
        clips.append(_clip(video, segment, array, times, _steps_of(middles, segment), where))
    return clips


def _step_length(video: Video, array: FileArray, fps: Fraction | None) -> float:
    """Return the seconds per step, from ``--fps`` or else from the video's duration."""
    if fps is not None:
        return float(1 / fps)
    if video.seconds is None:
        raise InputError(
            f"{video.where} has no duration, so the times of its steps are unknown; add it, or "
            "pass --fps with the steps per second"
        )
    return video.seconds / array.steps


def _steps_of(middles: NDArray[np.floating[Any]], segment: Segment) -> tuple[int, int]:
    """Return the first step and the end of a segment, which has at least one step."""
    first, stop = np.searchsorted(middles, [segment.start, segment.stop]).tolist()
    if first == stop:
        first = int(np.argmin(np.abs(middles - (segment.start + segment.stop) / 2)))
        stop = first + 1
    return first, stop


def _clip(
    video: Video,
    segment: Segment,
    array: FileArray,
    times: NDArray[np.floating[Any]],
    steps: tuple[int, int],
    where: str,
) -> ListedClip:
    first, stop = steps
    draft = Draft(
        clip_id=f"{video.name}/{segment.number}",
        video=video.name,
        path=array.path,
        label=segment.label,
        where=where,
        start=first,
        stop=stop,
        split=video.part,
    )
    part = replace(array, start=first, stop=stop)
    return ListedClip(draft, part, np.arange(first, stop), times[first:stop].astype(np.float64))
