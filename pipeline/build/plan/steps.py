"""What a build will do: the rows of every clip and the work of every unit. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.format import schema
from featstore.format.contents import columns_of
from featstore.format.layout import Layout
from pipeline.build.plan.clips import Clip, reading
from pipeline.build.plan.options import BuildOptions
from pipeline.build.plan.sampling import Frames, sample, windows
from pipeline.video.modes import PixelMode
from pipeline.video.videos import Video

# A video of 29.97 frames a second may be sampled at 30.
RATE_TOLERANCE = 0.005


@dataclass(frozen=True, slots=True)
class Segment:
    """What one unit needs of one video.

    Attributes
    ----------
    video : int
        Position among the videos.
    inputs : ndarray of int64, shape (n, window)
        Frames of every distinct input of the backbone, in ascending order.
    rows : ndarray of int64, shape (m,)
        The input of each of the unit's next m rows: a frame that clips share is computed once.
    clips : ndarray of int64, shape (n, 2), or None
        The interval of the clip that each input belongs to, for augmented views; then clips of a
        segment share no frame.
    """

    video: int
    inputs: Frames
    rows: NDArray[np.int64]
    clips: NDArray[np.int64] | None = None

    def clip_of_frame(self) -> dict[int, tuple[int, int]]:
        """Return the interval of the clip that each frame belongs to; empty without `clips`."""
        if self.clips is None:
            return {}
        return {
            frame: (start, stop)
            for frames, (start, stop) in zip(self.inputs.tolist(), self.clips.tolist(), strict=True)
            for frame in frames
        }


def check_rate(videos: Sequence[Video], fps: Fraction | None) -> None:
    """Refuse to sample a video faster than it was recorded.

    Raises
    ------
    InputError
    """
    for video in videos if fps is not None else ():
        rate = video.index.rate
        if not video.index.timed:
            raise InputError(
                f"{video.path} is a folder of images of unknown rate, so --fps {fps} means "
                "nothing; say how many images a second with --image-fps, or give --fps all."
            )
        if fps is not None and rate is not None and fps > rate * (1 + RATE_TOLERANCE):
            raise InputError(
                f"--fps is {float(fps):g}, and {video.path} has {rate:.4g} frames a second; give "
                "a rate that every video has, or --fps all for every frame."
            )


def clip_inputs(
    clips: Sequence[Clip], videos: Sequence[Video], options: BuildOptions, fps: Fraction | None
) -> tuple[list[Frames], int]:
    """Return the frames of every step of every clip, and how many clips repeat their last frame.

    Returns
    -------
    inputs : list of ndarray of int64, shape (steps, window)
        The window is 1 for an image backbone.
    repeated : int
        Clips shorter than one window.
    """
    inputs, repeated = [], 0
    for clip in clips:
        if clip.lost:
            inputs.append(np.zeros((0, options.window if options.takes_windows else 1), np.int64))
            continue
        frames = sample(videos[clip.video].index, clip.start, clip.stop, fps, clip.shown)
        if options.takes_windows:
            repeated += len(frames) < options.window
            inputs.append(windows(frames, options.window, options.hop))
        else:
            inputs.append(frames[:, None])
    return inputs, repeated


def segments(
    clips: Sequence[Clip],
    inputs: Sequence[Frames],
    layout: Layout,
    first: int,
    last: int,
    *,
    without: Container[int] = (),
    apart: bool = False,
) -> list[Segment]:
    """Return the work of the unit that holds rows `first` to `last`, a video after the other.

    The rows of the clips in `without` are left out. With `apart`, a clip that overlaps the one
    before it begins another segment, because an augmented view changes its frames in another way.
    """
    parts_of: dict[tuple[int, int], list[tuple[Frames, Clip]]] = {}
    layer, ends = 0, dict[int, int]()
    for number in layout.clips_of(first, last):
        if number in without:
            continue
        offset = int(layout.offsets[number])
        frames = inputs[number][max(0, first - offset) : last - offset]
        if not len(frames):
            continue
        clip = clips[number]
        layer += apart and int(frames.min()) <= ends.get(clip.video, -1)
        ends[clip.video] = int(frames.max())
        parts_of.setdefault((clip.video, layer), []).append((frames, clip))
    result = []
    for (video, _), parts in parts_of.items():
        every = np.concatenate([frames for frames, _ in parts])
        distinct, at, rows = np.unique(every, axis=0, return_index=True, return_inverse=True)
        intervals = np.repeat(
            [(clip.start, clip.stop) for _, clip in parts], [len(part) for part, _ in parts], axis=0
        )
        result.append(Segment(video, distinct, rows.reshape(-1), intervals[at] if apart else None))
    return result


def columns(
    clips: Sequence[Clip],
    videos: Sequence[Video],
    classes: Sequence[str],
    inputs: Sequence[Frames],
    mode: PixelMode,
) -> dict[str, NDArray[Any]]:
    """Return every array of a store but the features; see `columns_of`."""
    return columns_of(
        [clip.key(videos, mode) for clip in clips],
        classes=classes,
        status=[schema.STATUS_FAILED if clip.lost else schema.STATUS_OK for clip in clips],
        videos=[(video.name, video.content, reading(video.index, mode)) for video in videos],
        video=[clip.video for clip in clips],
        frames=[frames[:, 0] for frames in inputs],
        # A window's time is that of its middle.
        times=[
            videos[clip.video].index.seconds[frames].mean(axis=1)
            for clip, frames in zip(clips, inputs, strict=True)
        ],
    )
