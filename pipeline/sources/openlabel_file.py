"""Read one OpenLABEL file: its actions, streams and driver.

OpenLABEL is a standard of ASAM (https://www.asam.net/standards/detail/openlabel/), written by
Vicomtech's VCD library. The Driver Monitoring Dataset (Ortega et al., 2020, "DMD: A Large-Scale
Multi-modal Driver Monitoring Dataset for Attention and Alertness Analysis") has a file for each
session, written by its tool TaTo (``annotation-tool/vcd4parser.py`` in
https://github.com/Vicomtech/DMD-Driver-Monitoring-Dataset)::

    {"openlabel": {
      "metadata": {"name": "gA_1_s1_2019-03-08T09;31;15+01;00"},
      "objects": {"0": {"name": "1", "type": "driver"}},
      "actions": {"3": {"type": "driver_actions/texting_left",
                        "frame_intervals": [{"frame_start": 10, "frame_end": 19}]}},
      "streams": {"body_camera": {"uri": "gA/1/s1/..._rgb_body.mp4", "stream_properties":
                                  {"total_frames": 900, "sync": {"frame_shift": 4}}}}}}

Intervals include their last frame and count in frames of all streams together, which begin with
the first stream; a stream's frame is smaller by its ``frame_shift`` over the smallest of all, as
in ``checkFrameInStream`` of ``exploreMaterial-tool/accessDMDAnn.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from featstore.errors import InputError
from featstore.json_text import read_object
from pipeline.sources.labels import listing, nearest_hint

ROOTS = ("openlabel", "vcd")  # VCD 4 wrote the same under its own name


class Interval(NamedTuple):
    """One interval of one action, from its first to its last frame."""

    where: str
    level: str
    label: str
    first: int
    last: int


class Stream(NamedTuple):
    """The video of a stream.

    Attributes
    ----------
    uri : str
    shift : int
        Frames by which it begins later than the annotation.
    frames : int or None
        Its number of frames.
    """

    uri: str
    shift: int
    frames: int | None


@dataclass(frozen=True, slots=True)
class OpenLabelFile:
    """The content of one OpenLABEL file."""

    path: Path
    content: Mapping[str, Any]

    def levels(self) -> set[str]:
        """Return the levels of the actions: what precedes the slash in their types."""
        return {_type(action, where).rpartition("/")[0] for where, action in self._actions()}

    def intervals(self, level: str) -> Iterator[Interval]:
        """Yield the intervals of the actions of one level.

        Raises
        ------
        InputError
            If an action has no type or no intervals, or an interval is not two whole numbers.
        """
        for action_where, action in self._actions():
            prefix, _, label = _type(action, action_where).rpartition("/")
            if prefix != level:
                continue
            intervals = action.get("frame_intervals")
            if not isinstance(intervals, list):
                raise InputError(f"{action_where} has no list of frame_intervals; add it")
            for number, interval in enumerate(intervals):
                where = f"{action_where} interval {number}"
                yield Interval(where, level, label, *_frames(interval, where))

    def stream_names(self) -> list[str]:
        """Return the names of the streams; none if the file names its video alone."""
        metadata = _part(self.content, "metadata")
        return list(_part(self.content, "streams") or _part(metadata, "streams"))

    def stream(self, name: str | None) -> Stream:
        """Return a stream; without a name, the only one.

        A file without streams names its video as ``tagged_file``, or has the same name.

        Raises
        ------
        InputError
            If there is no such stream, or it has no URI.
        """
        metadata = _part(self.content, "metadata")
        streams = _part(self.content, "streams") or _part(metadata, "streams")
        if not streams and name is None:
            return Stream(str(metadata.get("tagged_file") or f"{self.path.stem}.mp4"), 0, None)
        if name is None and len(streams) > 1:
            raise InputError(
                f"{self.path} has {len(streams)} streams; choose one with --stream: "
                f"{listing(streams)}"
            )
        name = name or next(iter(streams))
        if name not in streams:
            raise InputError(
                f"{self.path} has no stream {name}, only {listing(streams) or 'its video'}"
                f"{nearest_hint(name, streams)}; correct --stream"
            )
        uri = _part(streams, name).get("uri")
        if not isinstance(uri, str) or not uri:
            raise InputError(f"{self.path}: stream {name} has no uri; add the path of its video")
        shifts = {other: self._shift(streams, other) for other in streams}
        frames = _part(_part(streams, name), "stream_properties").get("total_frames")
        frames = frames if isinstance(frames, int) and frames > 0 else None
        return Stream(uri.replace("\\", "/"), shifts[name] - min(shifts.values()), frames)

    def driver(self) -> str | None:
        """Return the name of the only object of type driver."""
        objects = _part(self.content, "objects")
        parts = [_part(objects, uid) for uid in objects]
        names = [part.get("name") for part in parts if part.get("type") == "driver"]
        return str(names[0]) if len(names) == 1 and names[0] else None

    def _actions(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield every action with its place."""
        actions = _part(self.content, "actions")
        for uid in actions:
            yield f'{self.path} action "{uid}"', _part(actions, uid)

    def _shift(self, streams: Mapping[str, Any], name: str) -> int:
        sync = _part(_part(_part(streams, name), "stream_properties"), "sync")
        shift = sync.get("frame_shift", 0)
        if not isinstance(shift, int):
            raise InputError(
                f"{self.path}: frame_shift of stream {name} is {shift!r}; write a whole number"
            )
        return shift


def read_openlabel(path: Path) -> OpenLabelFile | None:
    """Return the content of an OpenLABEL file; None for other JSON, or without actions.

    Raises
    ------
    InputError
        If the file cannot be read, or is no JSON object.
    """
    try:
        content = read_object(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
    except ValueError as error:
        raise InputError(f"{path} is not a JSON object ({error}); correct or remove it") from None
    for root in ROOTS:
        if _part(_part(content, root), "actions"):
            return OpenLabelFile(path, _part(content, root))
    return None


def _part(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an object in an object, or an empty one."""
    part = content.get(key)
    return part if isinstance(part, dict) else {}


def _type(action: Mapping[str, Any], where: str) -> str:
    kind = action.get("type")
    if not isinstance(kind, str) or not kind.rpartition("/")[2]:
        raise InputError(f"{where} has no type, which is its label; add it")
    return kind


def _frames(interval: Any, where: str) -> tuple[int, int]:
    """Return the first and the last frame of an interval."""
    interval = interval if isinstance(interval, dict) else {}
    first, last = interval.get("frame_start"), interval.get("frame_end")
    if not isinstance(first, int) or not isinstance(last, int) or first < 0:
        raise InputError(f"{where} is not frame_start and frame_end, whole numbers; correct it")
    if last < first:
        raise InputError(f"{where}: frame_end {last} is before frame_start {first}; correct it")
    return first, last
