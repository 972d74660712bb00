"""Frames as they come: raw ones from a pipe, or those of a camera."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, Protocol

import numpy as np

from featstore.errors import InputError
from pipeline.option_values import rate
from pipeline.video.index import VideoIndex, assumed_range

FORMATS = {"grey8": ("gray", 1), "rgb24": ("rgb24", 3)}
V4L2 = "v4l2"
_FRAMES = re.compile(r"(\d+)x(\d+)@([\d./]+)(?::(\w+))?")


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that has arrived.

    Attributes
    ----------
    number : int
        It is at number / fps seconds; numbers ascend, and a camera may skip some.
    picture : av.VideoFrame
    arrived : float
        Seconds of the monotonic clock.
    """

    number: int
    picture: Any
    arrived: float


class Stream(Protocol):
    """Frames as they come.

    Attributes
    ----------
    fps : Fraction
    index : VideoIndex
        Describes the pictures; it has no times.
    """

    fps: Fraction
    index: VideoIndex

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the stream ends."""


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """The size, rate and pixels of frames.

    Attributes
    ----------
    width, height : int
    fps : Fraction
    pixels : {"grey8", "rgb24"} or None
        Of raw frames: one byte a pixel, or three; rows from the top, 0..255.
    """

    width: int
    height: int
    fps: Fraction
    pixels: str | None = None

    @classmethod
    def parse(cls, text: str, *, raw: bool) -> StreamFormat:
        """Return what ``WIDTHxHEIGHT@FPS:FORMAT`` means; only raw frames have a format.

        Raises
        ------
        InputError

        Examples
        --------
        >>> StreamFormat.parse("640x480@30:grey8", raw=True)
        StreamFormat(width=640, height=480, fps=Fraction(30, 1), pixels='grey8')
        """
        match = _FRAMES.fullmatch(text)
        form = match and match[4]
        if (
            not match
            or not int(match[1]) * int(match[2])
            or (form not in FORMATS if raw else form is not None)
        ):
            meant = f":FORMAT with FORMAT {' or '.join(FORMATS)}" if raw else " for a camera"
            example = "640x480@30:grey8" if raw else "640x480@30"
            raise InputError(
                f"--frames is {text!r}; it is WIDTHxHEIGHT@FPS{meant}, such as {example}."
            )
        return cls(int(match[1]), int(match[2]), rate("frames", match[3]), form)


def open_stream(source: BinaryIO | str, form: StreamFormat | None, camera: str | None) -> Stream:
    """Return the frames of a pipe, or of the camera that a name names.

    Raises
    ------
    InputError
        See `Camera`; or if a pipe has no format.
    """
    if isinstance(source, str):
        return Camera(source, camera or V4L2, form)
    if form is None:
        raise InputError(
            "Raw frames need their format; give --frames, such as --frames 640x480@30:grey8."
        )
    return RawFrames(source, form)


class RawFrames:
    """Frames without headers, one after the other, at a constant rate.

    Parameters
    ----------
    stream : binary file
    form : StreamFormat
        With `pixels`.
    """

    def __init__(self, stream: BinaryIO, form: StreamFormat) -> None:
        self._stream, self._form, self.fps = stream, form, form.fps
        self._name, self._channels = FORMATS[form.pixels or ""]
        self.index = _index(form.fps, form.width, form.height, self._name, "full")

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames; raise InputError if the stream ends within one."""
        form = self._form
        size, number = form.width * form.height * self._channels, 0
        while content := self._stream.read(size):
            while len(content) < size:  # a pipe gives what is there
                more = self._stream.read(size - len(content))
                if not more:
                    raise InputError(
                        f"The stream ended within frame {number}, after {len(content)} of "
                        f"{size} bytes; is it {form.width}x{form.height} {form.pixels}?"
                    )
                content += more
            arrived = time.monotonic()
            yield Frame(number, self._picture(content), arrived)
            number += 1

    def _picture(self, content: bytes) -> Any:
        import av

        shape = (self._form.height, self._form.width, self._channels)
        pixels = np.frombuffer(content, np.uint8).reshape(shape)
        plain = pixels if self._channels == 3 else pixels[..., 0]
        return av.VideoFrame.from_ndarray(plain, format=self._name)


class Camera:
    """The frames of a camera, or of another device that FFmpeg reads.

    A frame's number comes from its time stamp, so frames that the driver drops while the computer
    is busy move no other frame.

    Parameters
    ----------
    name : str
        Such as ``/dev/video0``.
    kind : str
        FFmpeg's name of the kind of device: ``v4l2`` on Linux, ``avfoundation`` on macOS,
        ``dshow`` on Windows.
    form : StreamFormat or None
        The size and rate that the device is asked for; by default its own.

    Raises
    ------
    InputError
        If it cannot be opened, or states no rate.
    """

    def __init__(self, name: str, kind: str = V4L2, form: StreamFormat | None = None) -> None:
        self._name = name
        self._container = _opened(name, kind, form)
        self._stream = self._container.streams.video[0]
        self.fps = form.fps if form else self._stream.average_rate or self._stream.base_rate
        if not self.fps:
            raise InputError(
                f"{name} states no frame rate; give its size and rate, such as --frames 640x480@30."
            )
        context = self._stream.codec_context
        pixels = context.format
        self.index = _index(
            self.fps,
            context.width,
            context.height,
            pixels.name,
            assumed_range(pixels.name, 8, int(context.color_range), context.name),
        )

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames; raise InputError if the device is lost."""
        import av

        first: float | None = None
        number = -1
        try:
            for frame in self._container.decode(self._stream):
                arrived = time.monotonic()
                seconds = arrived if frame.time is None else frame.time
                first = seconds if first is None else first
                number = max(number + 1, round((seconds - first) * self.fps))
                yield Frame(number, frame, arrived)
        except (OSError, av.FFmpegError) as error:
            raise InputError(f"{self._name} gives no more frames ({error}).") from None
        finally:
            self._container.close()


def _opened(name: str, kind: str, form: StreamFormat | None) -> Any:
    import av

    options = {}
    if form:
        options = {"video_size": f"{form.width}x{form.height}", "framerate": str(form.fps)}
    try:
        return av.open(name, format=kind, options=options)
    except (OSError, ValueError, av.FFmpegError) as error:
        raise InputError(
            f"{name} cannot be opened as a camera of kind {kind} ({error}); check the name, the "
            "size and the rate, or let ffmpeg read it and predict its raw frames from `-`."
        ) from None


def _index(fps: Fraction, width: int, height: int, form: str, limits: Any) -> VideoIndex:
    """Return the description of pictures without times."""
    nothing = np.zeros(0, np.int64)
    return VideoIndex(nothing, nothing, 1 / fps, 0, width, height, form, 8, limits)
