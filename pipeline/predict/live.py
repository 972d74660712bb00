"""Predict a stream: a window as soon as its last frame is there."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featstore.errors import InputError
from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.extract.preprocess import prepare
from pipeline.build.plan.sampling import windows as backbone_windows
from pipeline.build.plan.steps import RATE_TOLERANCE
from pipeline.predict.recording import WHOLE, classified, counted, window_sums
from pipeline.predict.stream import Frame, Stream
from pipeline.predict.trained import Trained
from pipeline.types import Floats
from pipeline.video.pixels import Converter


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

    def facts(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return what a line says of the window."""
        probabilities = np.exp(self.log_probabilities)
        best = int(probabilities.argmax())
        return {
            "start": self.begin,
            "end": self.end,
            "label": classes[best],
            "probability": float(probabilities[best]),
            "probabilities": dict(zip(classes, probabilities.tolist(), strict=True)),
            "delay": self.delay,
        }


def check_live(trained: Trained, fps: Fraction) -> None:
    """Refuse a run that cannot predict a stream of these frames.

    Raises
    ------
    InputError
        If its features are standardised by what a stream does not have yet, or it samples faster.
    """
    if len(trained.members) > 1:
        raise InputError(
            f"{trained.run} was trained on {len(trained.members)} stores, and a stream is "
            "predicted by one; train on one store."
        )
    if trained.standardise in WHOLE:
        raise InputError(
            f"The features of {trained.run} are standardised by the whole {trained.standardise}, "
            "which a stream does not have yet; train with data.standardise none, train, clip or "
            "causal."
        )
    sampled = trained.first.pixels.fps
    if sampled is not None and sampled > fps * Fraction(1 + RATE_TOLERANCE):
        raise InputError(
            f"The stream has {float(fps):g} frames a second, and {trained.run} samples "
            f"{float(sampled):g}; send more frames a second."
        )


def predict_live(
    trained: Trained, stream: Stream, window: float, hop: float
) -> Iterator[LiveWindow]:
    """Yield the prediction for each window of a stream until it ends.

    Windows and their steps are those of `pipeline.predict.windows.slide` on a video of these
    frames, but for its last window, which is shifted back. Memory is bounded: frames and features
    are dropped after the last window that needs them.

    Parameters
    ----------
    trained : Trained
        Best loaded with a batch size of 1.
    stream : Stream
    window, hop : float
        Seconds.

    Raises
    ------
    InputError
        See `check_live`; or if the stream breaks off.
    """
    check_live(trained, stream.fps)
    state = _Steps(trained, stream)
    number = 0  # of the next window
    with state.runner.open():
        for frame in stream:
            state.take(frame)
            while True:
                begin = _boundary(number * hop, stream.fps)
                end = _boundary(number * hop + window, stream.fps)
                if frame.number < end - 1:
                    break
                if end > begin and (clip := state.clip(begin, end)) is not None:
                    features, past = clip
                    sums = [window_sums(trained, features, past)]
                    logs = classified(trained, [features], sums).log_probabilities[0]
                    seconds = [float(each / stream.fps) for each in (begin, end)]
                    delay = time.monotonic() - frame.arrived
                    yield LiveWindow(seconds[0], seconds[1], logs, delay)
                number += 1
                state.forget(_boundary(number * hop, stream.fps))


def _boundary(seconds: float | Fraction, fps: Fraction) -> int:
    """Return the frame boundary nearest to a time, the earlier of two."""
    exact = Fraction(str(round(seconds, 9))) if isinstance(seconds, float) else seconds
    return math.ceil(exact * fps - Fraction(1, 2))


class _Steps:
    """The sampled frames of a stream, and the features of the inputs that they make."""

    def __init__(self, trained: Trained, stream: Stream) -> None:
        self._trained, self._member, self._stream = trained, trained.first, stream
        forward = self._member.forward
        shape, precision = forward.numerics["batch_shape"], forward.extraction.precision
        self._channels = shape[1]
        self.runner = BatchRunner(forward.backbone, shape, forward.device, precision)
        self._converter = Converter(self._member.pixels.mode, stream.index)
        self._sampled: list[int] = []
        self._steps = 0
        self._pictures: dict[int, Tensor] = {}
        self._features: dict[tuple[int, ...], Future[Tensor]] = {}
        self._summed = -1
        self._past = np.zeros(1 + 2 * trained.dim)

    def take(self, frame: Frame) -> None:
        """Prepare a frame if a step takes it: step k takes the one nearest to k / fps.

        If a camera skips that frame, the next one is taken.
        """
        fps = self._member.pixels.fps or self._stream.fps
        due = missed = 0
        while (nearest := _boundary(self._steps / fps, self._stream.fps)) <= frame.number:
            due += nearest == frame.number
            missed += nearest < frame.number
            self._steps += 1
        if not due + missed:
            return
        self._sampled += [frame.number] * max(due, 1)
        self._pictures[frame.number] = self._prepared(frame)
        if self._member.window is None:  # while the next frames arrive
            self._feature((frame.number,))

    def _prepared(self, frame: Frame) -> Tensor:
        extraction, statistics = self._member.forward.extraction, self._member.statistics
        with torch.inference_mode():
            prepared = prepare(
                self._converter.picture(frame.picture)[None],
                self._stream.index,
                size=extraction.size,
                fit=extraction.fit,
                resample=extraction.resample,
                mean=statistics.mean,
                std=statistics.std,
                channels=self._channels,
                device=self._trained.device,
            )
        return prepared[0]

    def _feature(self, frames: tuple[int, ...]) -> Future[Tensor]:
        if frames not in self._features:
            pictures = [self._pictures[frame] for frame in frames]
            x = torch.stack(pictures, dim=1) if self._member.window else pictures[0]
            self._features[frames] = self.runner.submit([x])
        return self._features[frames]

    def clip(self, begin: int, end: int) -> tuple[np.ndarray, Floats] | None:
        """Return the features of the steps in ``[begin, end)``, and the sums of all until then."""
        taken = [frame for frame in self._sampled if begin <= frame < end]
        if not taken:
            return None
        if self._member.window is None:
            inputs = [(frame,) for frame in taken]
        else:
            frames = np.array(taken, np.int64)
            inputs = list(map(tuple, backbone_windows(frames, *self._member.window).tolist()))
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
