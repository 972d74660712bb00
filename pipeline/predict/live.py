"""Predict a stream of raw frames: a line a window, as soon as the window's last frame is there."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from featstore.errors import InputError
from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.extract.preprocess import prepare
from pipeline.build.plan.sampling import windows as backbone_windows
from pipeline.build.plan.steps import RATE_TOLERANCE
from pipeline.option_values import rate
from pipeline.predict.recording import WHOLE, classified, counted, window_sums
from pipeline.predict.trained import Trained
from pipeline.types import Floats
from pipeline.video.index import VideoIndex
from pipeline.video.pixels import Converter

FORMATS = {"grey8": ("gray", 1), "rgb24": ("rgb24", 3)}
_FRAMES = re.compile(r"(\d+)x(\d+)@([\d./]+):(\w+)")


@dataclass(frozen=True, slots=True)
class RawFrames:
    """The format of a stream of raw frames, one after the other without headers.

    Attributes
    ----------
    width, height : int
    fps : Fraction
        Frame n is at n / fps seconds.
    format : {"grey8", "rgb24"}
        One byte a pixel, or three; rows from the top, 0..255.
    """

    width: int
    height: int
    fps: Fraction
    format: str

    @classmethod
    def parse(cls, text: str) -> RawFrames:
        """Return what ``WIDTHxHEIGHT@FPS:FORMAT`` means.

        Raises
        ------
        InputError

        Examples
        --------
        >>> RawFrames.parse("640x480@30:grey8")
        RawFrames(width=640, height=480, fps=Fraction(30, 1), format='grey8')
        """
        match = _FRAMES.fullmatch(text)
        if not match or match[4] not in FORMATS or not int(match[1]) * int(match[2]):
            raise InputError(
                f"--frames is {text!r}; it is WIDTHxHEIGHT@FPS:FORMAT with FORMAT "
                f"{' or '.join(FORMATS)}, such as 640x480@30:grey8."
            )
        return cls(int(match[1]), int(match[2]), rate("frames", match[3]), match[4])

    @property
    def bytes(self) -> int:
        """Bytes of a frame."""
        return self.width * self.height * FORMATS[self.format][1]

    @property
    def index(self) -> VideoIndex:
        """The format as of a video, for the pixels."""
        nothing = np.zeros(0, np.int64)
        form = FORMATS[self.format][0]
        size = (self.width, self.height)
        return VideoIndex(nothing, nothing, 1 / self.fps, 0, *size, form, 8, "full")


@dataclass(frozen=True, slots=True)
class LiveWindow:
    """The prediction for one window of a stream.

    Attributes
    ----------
    begin, end : float
        Seconds since the first frame.
    log_probabilities : float64 array (classes,)
    delay : float
        Seconds from the arrival of the window's last frame to the prediction.
    """

    begin: float
    end: float
    log_probabilities: Floats
    delay: float


def check_live(trained: Trained, frames: RawFrames) -> None:
    """Refuse a run that cannot predict a stream of these frames.

    Raises
    ------
    InputError
        If its features are standardised by what a stream does not have yet, or it samples faster.
    """
    if trained.standardise in WHOLE:
        raise InputError(
            f"The features of {trained.run} are standardised by the whole {trained.standardise}, "
            "which a stream does not have yet; train with data.standardise none, train, clip or "
            "causal."
        )
    fps = trained.pixels.fps
    if fps is not None and fps > frames.fps * Fraction(1 + RATE_TOLERANCE):
        raise InputError(
            f"--frames has {float(frames.fps):g} frames a second, and {trained.run} samples "
            f"{float(fps):g}; send more frames a second."
        )


def predict_live(
    trained: Trained, stream: BinaryIO, frames: RawFrames, window: float, hop: float
) -> Iterator[LiveWindow]:
    """Yield the prediction for each window of a stream until it ends.

    Windows and their steps are those of `pipeline.predict.windows.slide` on a video of these
    frames, but for its last window, which is shifted back. Memory is bounded: frames and features
    are dropped after the last window that needs them.

    Parameters
    ----------
    trained : Trained
        Best loaded with a batch size of 1.
    stream : binary file
    frames : RawFrames
    window, hop : float
        Seconds.

    Raises
    ------
    InputError
        See `check_live`; or if the stream ends within a frame.
    """
    check_live(trained, frames)
    state = _Steps(trained, frames)
    number = 0  # of the next window
    with state.runner.open():
        for frame in _arrivals(stream, frames):
            state.take(frame)
            while True:
                begin = _boundary(number * hop, frames.fps)
                end = _boundary(number * hop + window, frames.fps)
                if frame.number < end - 1:
                    break
                if end > begin and (clip := state.clip(begin, end)) is not None:
                    features, past = clip
                    sums = [window_sums(trained, features, past)]
                    logs = classified(trained, [features], sums)[0]
                    seconds = [float(each / frames.fps) for each in (begin, end)]
                    delay = time.monotonic() - frame.arrived
                    yield LiveWindow(seconds[0], seconds[1], logs, delay)
                number += 1
                state.forget(_boundary(number * hop, frames.fps))


@dataclass(frozen=True, slots=True)
class _Frame:
    number: int
    content: bytes
    arrived: float


def _arrivals(stream: BinaryIO, frames: RawFrames) -> Iterator[_Frame]:
    number = 0
    while content := stream.read(frames.bytes):
        while len(content) < frames.bytes:  # a pipe gives what is there
            more = stream.read(frames.bytes - len(content))
            if not more:
                raise InputError(
                    f"The stream ended within frame {number}, after {len(content)} of "
                    f"{frames.bytes} bytes; is it {frames.width}x{frames.height} {frames.format}?"
                )
            content += more
        yield _Frame(number, content, time.monotonic())
        number += 1


def _boundary(seconds: float | Fraction, fps: Fraction) -> int:
    """Return the frame boundary nearest to a time, the earlier of two."""
    exact = Fraction(str(round(seconds, 9))) if isinstance(seconds, float) else seconds
    return math.ceil(exact * fps - Fraction(1, 2))


class _Steps:
    """The sampled frames of a stream, and the features of the inputs that they make."""

    def __init__(self, trained: Trained, frames: RawFrames) -> None:
        self._trained, self._frames = trained, frames
        shape = trained.forward.numerics["batch_shape"]
        extraction = trained.forward.extraction
        self._channels = shape[1]
        self.runner = BatchRunner(
            trained.forward.backbone, shape, trained.forward.device, extraction.precision
        )
        self._converter = Converter(trained.pixels.mode, frames.index)
        self._sampled: list[int] = []
        self._steps = 0
        self._pictures: dict[int, Tensor] = {}
        self._features: dict[tuple[int, ...], Future[Tensor]] = {}
        self._summed = -1
        self._past = np.zeros(1 + 2 * trained.forward.dim)

    def take(self, frame: _Frame) -> None:
        """Prepare a frame if a step takes it: step k takes the one nearest to k / fps."""
        fps = self._trained.pixels.fps or self._frames.fps
        before = self._steps
        while _boundary(self._steps / fps, self._frames.fps) == frame.number:
            self._sampled.append(frame.number)
            self._steps += 1
        if self._steps == before:
            return
        self._pictures[frame.number] = self._prepared(frame)
        if self._trained.window is None:  # while the next frames arrive
            self._feature((frame.number,))

    def _prepared(self, frame: _Frame) -> Tensor:
        import av

        shape = (self._frames.height, self._frames.width, 3)
        pixels = np.frombuffer(frame.content, np.uint8)
        form, channels = FORMATS[self._frames.format]
        picture = av.VideoFrame.from_ndarray(
            pixels.reshape(shape if channels == 3 else shape[:2]), format=form
        )
        extraction, statistics = self._trained.forward.extraction, self._trained.statistics
        with torch.inference_mode():
            prepared = prepare(
                self._converter.picture(picture)[None],
                self._frames.index,
                size=extraction.size,
                fit=extraction.fit,
                mean=statistics.mean,
                std=statistics.std,
                channels=self._channels,
                device=self._trained.forward.device,
            )
        return prepared[0]

    def _feature(self, frames: tuple[int, ...]) -> Future[Tensor]:
        if frames not in self._features:
            pictures = [self._pictures[frame] for frame in frames]
            x = torch.stack(pictures, dim=1) if self._trained.window else pictures[0]
            self._features[frames] = self.runner.submit([x])
        return self._features[frames]

    def clip(self, begin: int, end: int) -> tuple[np.ndarray, Floats] | None:
        """Return the features of the steps in ``[begin, end)``, and the sums of all until then."""
        taken = [frame for frame in self._sampled if begin <= frame < end]
        if not taken:
            return None
        if self._trained.window is None:
            inputs = [(frame,) for frame in taken]
        else:
            frames = np.array(taken, np.int64)
            inputs = list(map(tuple, backbone_windows(frames, *self._trained.window).tolist()))
        features = np.stack([self._feature(each).result()[0].numpy() for each in inputs])
        if self._trained.standardise == "causal":
            fresh = {each[0]: row for each, row in zip(inputs, features, strict=True)}
            for first in sorted(frame for frame in fresh if frame > self._summed):
                self._past = self._past + counted(fresh[first], 1.0, self._trained)
                self._summed = first
        return features, self._past

    def forget(self, begin: int) -> None:
        """Drop what no window from a frame on needs."""
        self._sampled = [frame for frame in self._sampled if frame >= begin]
        for frame in [frame for frame in self._pictures if frame < begin]:
            del self._pictures[frame]
        for frames in [frames for frames in self._features if frames[0] < begin]:
            del self._features[frames]
