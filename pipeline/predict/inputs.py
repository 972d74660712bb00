"""Find the recordings that a prediction is asked for: videos, folders and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featstore.errors import InputError
from featstore.text import count_of
from pipeline.build.plan.clips import Clip, resolve
from pipeline.sources.base import Dataset
from pipeline.sources.files import VIDEO_SUFFIXES, is_image_folder, visible_entries
from pipeline.sources.labels import ClassList
from pipeline.sources.table import Table
from pipeline.video.modes import PixelSpec
from pipeline.video.videos import Video

TABLES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Recording:
    """A video to predict.

    Attributes
    ----------
    name : str
        As outputs call it.
    path : Path
    table : int or None
        Number of the table that names it.
    """

    name: str
    path: Path
    table: int | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """The recordings, and the tables that annotate some of them.

    Attributes
    ----------
    recordings : list of Recording
    tables : list of Dataset
    """

    recordings: list[Recording]
    tables: list[Dataset]

    @property
    def named(self) -> dict[str, Path]:
        """The path of each recording."""
        return {recording.name: recording.path for recording in self.recordings}


def find_inputs(paths: Sequence[Path], classes: ClassList, unit: str | None) -> Inputs:
    """Return the recordings of videos, folders and tables.

    Parameters
    ----------
    paths : sequence of Path
        A video; a folder of numbered images, or of videos at any depth; or a CSV table with a
        column ``video``, and optionally ``start,end``, ``label`` and ``subject``.
    classes : ClassList
        Of the run.
    unit : {"frames", "seconds"} or None
        Of the tables' intervals.

    Raises
    ------
    InputError
        If a path is missing, a folder holds no video, or two recordings have one name.
    """
    recordings: list[Recording] = []
    tables: list[Dataset] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; name videos, folders or tables.")
        if path.suffix.casefold() in TABLES:
            dataset = Table(data=path, unit=unit).read(classes)
            videos = {clip.video: clip.path for clip in dataset.annotations}
            recordings += [Recording(*video, len(tables)) for video in videos.items()]
            tables.append(dataset)
        elif path.is_dir() and not is_image_folder(path):
            recordings += [
                Recording(video.relative_to(path).as_posix(), video) for video in _videos(path)
            ]
            if not any(recording.path.is_relative_to(path) for recording in recordings):
                raise InputError(
                    f"{path} holds no videos; name a folder of videos, or of numbered images."
                )
        else:
            recordings.append(Recording(path.name, path))
    names: dict[str, Path] = {}
    for recording in recordings:
        if recording.name in names:
            raise InputError(
                f"{names[recording.name]} and {recording.path} are both called "
                f"{recording.name}; predict them with two --out folders."
            )
        names[recording.name] = recording.path
    return Inputs(recordings, tables)


def _videos(folder: Path) -> Iterator[Path]:
    for entry in visible_entries(folder):
        if entry.is_dir() and not is_image_folder(entry):
            yield from _videos(entry)
        elif entry.is_dir() or entry.suffix.casefold() in VIDEO_SUFFIXES:
            yield entry


def annotated_clips(
    inputs: Inputs, videos: Sequence[Video], pixels: PixelSpec
) -> dict[str, list[Clip]]:
    """Return the annotated intervals of each recording of a table, in frames, by start.

    Rows without an interval and without a label only name a video.

    Raises
    ------
    InputError
        If an interval lies outside of its recording.
    """
    by_name = {video.name: video for video in videos}
    clips_of: dict[str, list[Clip]] = {}
    for dataset in inputs.tables:
        annotations = tuple(
            clip
            for clip in dataset.annotations
            if (clip.label or clip.start is not None) and not by_name[clip.video].unreadable
        )
        if not annotations:
            continue
        annotated = [by_name[name] for name in dict.fromkeys(clip.video for clip in annotations)]
        clips, _ = resolve(replace(dataset, annotations=annotations), annotated, 1, fps=pixels.fps)
        for clip in clips:
            clips_of.setdefault(annotated[clip.video].name, []).append(clip)
    return {name: sorted(clips, key=lambda clip: clip.start) for name, clips in clips_of.items()}


def subjects_of(inputs: Inputs) -> dict[str, str]:
    """Return the subject of each recording, for statistics by subject.

    Raises
    ------
    InputError
        If a recording has no known subject, or several.
    """
    subjects: dict[str, set[str]] = {recording.name: set() for recording in inputs.recordings}
    for dataset in inputs.tables:
        for clip in dataset.annotations if dataset.subjects_known else ():
            subjects[clip.video].add(clip.subject)
    several = [name for name, names in subjects.items() if len(names) != 1]
    if several:
        raise InputError(
            "The run's features are standardised by subject, and "
            f"{count_of(len(several), 'recording')} such as {several[0]} "
            f"{_problem(subjects[several[0]])}; name the recordings by a table with the columns "
            "video and subject."
        )
    return {name: next(iter(names)) for name, names in subjects.items()}


def _problem(subjects: Iterable[str]) -> str:
    names = sorted(subjects)
    return f"have several ({', '.join(names)})" if names else "have none"
