"""Read actions in OpenLABEL files, such as those of the Driver Monitoring Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from featstore.errors import InputError
from featstore.text import count_of
from pipeline.sources.base import Dataset, option
from pipeline.sources.draft import Draft
from pipeline.sources.files import is_visible, locate
from pipeline.sources.labels import ClassList, listing, nearest_hint
from pipeline.sources.openlabel_file import OpenLabelFile, read_openlabel
from pipeline.sources.parts import SplitBySubject

CHANNELS = ("rgb", "ir", "depth")


@dataclass(frozen=True, kw_only=True)
class OpenLabel(SplitBySubject):
    """Actions in OpenLABEL files (.json), such as those of the Driver Monitoring Dataset (DMD).

    An action's type is its label: of one level, ``--actions driver_actions``, what follows the
    slash. Videos are found by the URI of a stream below ``--data``, or next to the file. The
    object of type driver is the subject; ``--subject`` finds another one in a video's path.
    """

    name: ClassVar[str] = "openlabel"

    data: Path = option(help="Folder that holds OpenLABEL files and videos, or one file.")
    actions: str | None = option(
        None, help="Level of the actions: driver_actions, gaze_on_road.  [default: the only one]"
    )
    stream: str | None = option(
        None, help="Stream with the video: body_camera, face_camera.  [default: the only one]"
    )
    channel: str = option(
        "rgb", help="Channel of DMD's videos, which replaces rgb in their names.", choices=CHANNELS
    )

    def read(self, like: ClassList | None = None) -> Dataset:
        """Read the files; see `Source.read`."""
        files, notes = self._files()
        level = self._level(files)
        drafts = [draft for file in files for draft in self._drafts(file, level, notes)]
        if not drafts:
            raise InputError(f"{self.data} has no interval of {level or 'actions'} in the stream")
        parts = (self._root.resolve().name, level, self.stream, self.channel)
        title = " ".join(filter(None, parts))
        dataset = self._assembled(drafts, self.data, title, notes, like)
        return replace(dataset, pixels="rgb" if self.channel == "rgb" else "luma")

    @property
    def _root(self) -> Path:
        """The folder that URIs of videos are relative to."""
        return self.data.parent if self.data.is_file() else self.data

    def _files(self) -> tuple[list[OpenLabelFile], list[str]]:
        """Return the files with actions, and a note on the others."""
        if not self.data.exists():
            raise InputError(f"{self.data} does not exist; check --data")
        files, skipped = [], []
        for path in [self.data] if self.data.is_file() else sorted(self.data.rglob("*.json")):
            name = path.relative_to(self._root)
            if all(map(is_visible, name.parts)):
                file = read_openlabel(path)
                if file is None:
                    skipped.append(name.as_posix())
                else:
                    files.append(file)
        if not files:
            raise InputError(
                f"{self.data} has no OpenLABEL file with actions; pass the folder of the .json"
            )
        notes = [f"Skipped, no OpenLABEL with actions: {listing(skipped, 5)}."] if skipped else []
        return files, notes

    def _level(self, files: Sequence[OpenLabelFile]) -> str:
        """Return the level of the actions: ``--actions``, or the only one."""
        levels = set().union(*(file.levels() for file in files))
        names = listing(sorted(level or "(none)" for level in levels))
        if self.actions is not None and self.actions not in levels:
            raise InputError(
                f"{self.data} has no actions of {self.actions}, only of {names}"
                f"{nearest_hint(self.actions, levels)}; correct --actions"
            )
        if self.actions is None and len(levels) > 1:
            raise InputError(
                f"{self.data} has {len(levels)} levels of actions, which hold at the same time; "
                f"choose one with --actions: {names}"
            )
        return min(levels) if self.actions is None else self.actions

    def _drafts(self, file: OpenLabelFile, level: str, notes: list[str]) -> list[Draft]:
        """Return the clips of a file, cut to the frames of the stream."""
        stream, driver = file.stream(self.stream), file.driver()
        video, path = self._video(file.path, stream.uri)
        name = file.path.relative_to(self._root).with_suffix("").as_posix()
        drafts, cut = [], 0
        for interval in file.intervals(level):
            start, stop = interval.first - stream.shift, interval.last + 1 - stream.shift
            begin, end = max(0, start), stop if stream.frames is None else min(stop, stream.frames)
            cut += (begin, end) != (start, stop)
            if begin < end:
                draft = Draft(
                    clip_id=f"{name}/{interval.label}/{interval.first}-{interval.last}",
                    video=video,
                    path=path,
                    label=interval.label,
                    where=interval.where,
                    start=begin,
                    stop=end,
                    subject=driver,
                )
                drafts.append(draft)
        if cut:
            notes.append(
                f"Outside of the stream, cut or skipped: {count_of(cut, 'interval')} of {name}."
            )
        return drafts

    def _video(self, file: Path, uri: str) -> tuple[str, Path]:
        """Return the name and path of a stream's video in the channel."""
        video = PurePosixPath(uri)
        if self.channel != "rgb":
            name = video.name.replace("_rgb_", f"_{self.channel}_")
            if name == video.name:
                raise InputError(f"{file}: {video} has no _rgb_ in its name; leave out --channel")
            suffix = ".avi" if self.channel == "depth" else video.suffix
            video = video.with_name(name).with_suffix(suffix)
        beside = file.parent.relative_to(self._root) / video.name
        if not (self._root / video).exists() and (self._root / beside).exists():
            video = PurePosixPath(beside.as_posix())
        return locate(self._root, video.as_posix())
