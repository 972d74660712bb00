"""Frames of the training and val clips, decoded once at the backbone's input size.

They are bytes in a mapped file, so an epoch needs no decoding and little memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featstore.errors import InputError
from featstore.text import human_size
from pipeline.build.checks import check_failures
from pipeline.build.extract.preprocess import fit_square, pixel_values
from pipeline.build.extract.statistics import Statistics
from pipeline.build.plan.build_plan import BuildPlan
from pipeline.build.plan.options import Resample
from pipeline.system.progress import Progress
from pipeline.system.read_ahead import read_ahead
from pipeline.types import Ints, Log
from pipeline.video.cache import Cache
from pipeline.video.decode import Lost, decode_all
from pipeline.video.decoders import decoding
from pipeline.video.index import VideoIndex
from pipeline.video.pixels import Picture
from pipeline.video.videos import check_unchanged

Row = tuple[int, NDArray[np.uint8] | str]


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded frames and their clips.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (frames, 1 or 3, size, size)
        0 to 255 represent 0 to 1; mapped.
    rows : list of ndarray of int64
        Row indices of every clip's frames; training clips come before val clips.
    labels : ndarray of int64, shape (clips,)
    train : int
        Number of training clips.
    """

    pixels: NDArray[np.uint8]
    rows: list[Ints]
    labels: Ints
    train: int


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The frames to decode: the rows of each clip, and each video's first row and frames."""

    rows: dict[int, Ints]
    frames_of: dict[int, tuple[int, Ints]]
    count: int


def load_frames(
    plan: BuildPlan, statistics: Statistics, folder: Path, cache: Cache, log: Log
) -> Frames:
    """Return the frames of training and val clips, decoded into a folder unless they are there.

    A clip with a frame that does not decode is left out, within the limit of ``--max-failures``.

    Parameters
    ----------
    plan : BuildPlan
    statistics : Statistics
        The mean fills the borders of ``--fit pad``.
    folder : Path
    cache : Cache
    log : callable

    Raises
    ------
    InputError
        If too many clips fail, the disk is too small, or a part has no clip left.
    """
    wanted = _wanted_of(plan)
    path = folder / f"frames-{plan.key[:16]}.npy"
    lost = path.with_suffix(".lost.npy")
    if not path.exists():
        for other in folder.glob("frames-*"):  # left by an interrupted command with other options
            other.unlink()
        part = path.with_suffix(".part")
        failed = _decode(plan, statistics, wanted, part, log)
        check_unchanged([plan.videos[number] for number in wanted.frames_of], cache)
        np.save(lost, np.array(sorted(failed), np.int64))
        check_failures(plan, failed)
        part.replace(path)
    without = set(np.load(lost).tolist())
    kept = {number: rows for number, rows in wanted.rows.items() if number not in without}
    parts = {
        part: [number for number in kept if plan.clips[number].split == part]
        for part in ("train", "val")
    }
    _check_parts(parts)
    clips = [*parts["train"], *parts["val"]]
    classes = {name: number for number, name in enumerate(plan.dataset.classes)}
    return Frames(
        np.load(path, mmap_mode="r"),
        [kept[number] for number in clips],
        np.array([classes[plan.clips[number].label] for number in clips], np.int64),
        len(parts["train"]),
    )


def _check_parts(parts: dict[str, list[int]]) -> None:
    for part, clips in parts.items():
        if not clips:
            raise InputError(
                f"The split has no {part} clips; pass a split with clips in both train and val."
            )


def _wanted_of(plan: BuildPlan) -> _Wanted:
    """Return the row of every frame; a frame that clips share is decoded once."""
    inputs, _ = plan.inputs()
    by_video: dict[int, list[int]] = {}
    for number, clip in enumerate(plan.clips):
        if clip.split != "test" and not clip.lost:
            by_video.setdefault(clip.video, []).append(number)
    rows: dict[int, Ints] = {}
    frames_of: dict[int, tuple[int, Ints]] = {}
    count = 0
    for video, numbers in by_video.items():
        frames = np.unique(np.concatenate([inputs[number][:, 0] for number in numbers]))
        for number in numbers:
            rows[number] = count + np.searchsorted(frames, inputs[number][:, 0])
        frames_of[video] = (count, frames)
        count += len(frames)
    return _Wanted(rows, frames_of, count)


def _decode(
    plan: BuildPlan, statistics: Statistics, wanted: _Wanted, path: Path, log: Log
) -> dict[int, str]:
    """Write every frame; return the clips with a lost frame, and the reasons."""
    size = plan.options.size
    mean = torch.tensor(statistics.mean, dtype=torch.float32).view(-1, 1, 1)
    # A mean of three values gives grey frames borders of three channels.
    wide = len(mean) if plan.options.fit == "pad" else 1
    channels = max(wide, 3 if plan.pixels.mode == "rgb" else 1)
    shape = (wanted.count, channels, size, size)
    _check_room(path.parent, int(np.prod(shape)))
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    lost: dict[int, str] = {}
    streams = (
        _rows(plan, mean, video, first, frames)
        for video, (first, frames) in wanted.frames_of.items()
    )
    with (
        Progress("decoding", len(wanted.frames_of), "videos", log) as progress,
        read_ahead(streams, threads=plan.options.workers, most=8) as entries,
    ):
        for entry in entries:
            if entry is None:
                progress.advance(1)
                continue
            row, frame = entry
            if isinstance(frame, str):
                lost[row] = frame
            else:
                pixels[row] = frame
                progress.advance(0, 1)
    pixels.flush()
    return {
        number: next(lost[row] for row in rows.tolist() if row in lost)
        for number, rows in wanted.rows.items()
        if lost and not lost.keys().isdisjoint(rows.tolist())
    }


def _rows(
    plan: BuildPlan, mean: Tensor, number: int, first: int, frames: Ints
) -> Iterator[Row | None]:
    """Yield the rows of one video, or the reason for a lost frame; None ends the video."""
    video, options = plan.videos[number], plan.options
    row_of = {frame: first + position for position, frame in enumerate(frames.tolist())}
    prepare = partial(
        as_bytes, size=options.size, fit=options.fit, resample=options.resample, mean=mean
    )
    reader = decoding(plan.pixels.decoder)
    for decoded in decode_all(video.path, video.index, frames, plan.pixels.mode, reader):
        if isinstance(decoded, Lost):
            yield from ((row_of[frame], decoded.reason) for frame in decoded.frames)
        else:
            yield row_of[decoded[0]], prepare(decoded[1], video.index)
    yield None


@torch.inference_mode()
def as_bytes(
    picture: Picture | Tensor,
    index: VideoIndex,
    *,
    size: int,
    fit: str,
    resample: Resample = "bilinear",
    mean: Tensor,
) -> NDArray[np.uint8]:
    """Return a frame as in `pipeline.build.extract.preprocess.prepare`, before mean and std.

    Parameters
    ----------
    picture : ndarray or Tensor, shape (height, width) or (height, width, 3)
    index : VideoIndex
    size, fit, resample
        See `fit_square`.
    mean : Tensor of float32, shape (1 or 3, 1, 1)
        In 0..1; fills the borders.

    Returns
    -------
    ndarray of uint8, shape (channels, size, size)
        0 to 255 represent 0 to 1.
    """
    values, offset, span = pixel_values(picture[None], index, torch.device("cpu"))
    shares = (fit_square(values, size, fit, resample)[0] - offset) / span
    if fit == "pad":
        shares = torch.where(shares.isnan(), mean, shares)
    rounded: NDArray[np.uint8] = (255 * shares).round().clamp(0, 255).to(torch.uint8).numpy()
    return rounded


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"The decoded frames need {human_size(needed)}, but {folder} has {human_size(free)} "
            "free; free some space, lower --size or --fps, or pass another --out."
        )
