"""Frames of the training and val clips, decoded once, at the size that the backbone takes.

They lie in a file of bytes that is mapped, so an epoch decodes nothing and takes no memory.
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
from pipeline.build.plan.build_plan import Prepared
from pipeline.build.plan.options import Fit
from pipeline.build.plan.steps import clip_inputs
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
    """Decoded frames and the clips that they belong to.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (frames, 1 or 3, size, size)
        0 to 255 stand for 0 to 1; mapped.
    rows : list of ndarray of int64
        Where the frames of every clip are, training clips and then val.
    labels : ndarray of int64, shape (clips,)
    train : int
        How many of the clips are training clips.
    """

    pixels: NDArray[np.uint8]
    rows: list[Ints]
    labels: Ints
    train: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which frames are decoded: the rows of a clip, and every video's first row and frames."""

    rows: dict[int, Ints]
    wanted: dict[int, tuple[int, Ints]]
    count: int


def load_frames(
    prepared: Prepared, statistics: Statistics, folder: Path, cache: Cache, log: Log
) -> Frames:
    """Decode the frames of training and val clips into a folder, or find them there.

    Clips of which a frame does not decode are left out, as far as ``--max-failures`` allows.

    Parameters
    ----------
    prepared : Prepared
    statistics : Statistics
        Its mean fills the borders of ``--fit pad``.
    folder : Path
    cache : Cache
    log : callable

    Raises
    ------
    InputError
        If too many clips fail, the disk is too small, or a part has no clip left.
    """
    plan = _plan(prepared)
    path = folder / f"frames-{prepared.key[:16]}.npy"
    lost = path.with_suffix(".lost.npy")
    if not path.exists():
        for other in folder.glob("frames-*"):  # of a command that was cut off and changed
            other.unlink()
        part = path.with_suffix(".part")
        failed = _decode(prepared, statistics, plan, part, log)
        check_unchanged([prepared.videos[number] for number in plan.wanted], cache)
        np.save(lost, np.array(sorted(failed), np.int64))
        check_failures(prepared, failed)
        part.replace(path)
    without = set(np.load(lost).tolist())
    kept = {number: rows for number, rows in plan.rows.items() if number not in without}
    parts = {
        part: [number for number in kept if prepared.clips[number].split == part]
        for part in ("train", "val")
    }
    _check_parts(parts)
    clips = [*parts["train"], *parts["val"]]
    classes = {name: number for number, name in enumerate(prepared.dataset.classes)}
    return Frames(
        np.load(path, mmap_mode="r"),
        [kept[number] for number in clips],
        np.array([classes[prepared.clips[number].label] for number in clips], np.int64),
        len(parts["train"]),
    )


def _check_parts(parts: dict[str, list[int]]) -> None:
    for part, clips in parts.items():
        if not clips:
            why = "learn from" if part == "train" else "choose the best epoch by"
            raise InputError(
                f"The split has no {part} clip to {why}; give a split that has train and val."
            )


def _plan(prepared: Prepared) -> _Plan:
    """Return where every frame goes; one that clips share is decoded once."""
    inputs, _ = clip_inputs(prepared.clips, prepared.videos, prepared.options, prepared.fps)
    by_video: dict[int, list[int]] = {}
    for number, clip in enumerate(prepared.clips):
        if clip.split != "test" and not clip.lost:
            by_video.setdefault(clip.video, []).append(number)
    rows: dict[int, Ints] = {}
    wanted: dict[int, tuple[int, Ints]] = {}
    count = 0
    for video, own in by_video.items():
        frames = np.unique(np.concatenate([inputs[number][:, 0] for number in own]))
        for number in own:
            rows[number] = count + np.searchsorted(frames, inputs[number][:, 0])
        wanted[video] = (count, frames)
        count += len(frames)
    return _Plan(rows, wanted, count)


def _decode(
    prepared: Prepared, statistics: Statistics, plan: _Plan, path: Path, log: Log
) -> dict[int, str]:
    """Write every frame, and return which clips lack one, and why."""
    size = prepared.options.size
    mean = torch.tensor(statistics.mean, dtype=torch.float32).view(-1, 1, 1)
    # Grey frames have borders of three values where the mean has three.
    wide = len(mean) if prepared.options.fit == "pad" else 1
    channels = max(wide, 3 if prepared.pixels == "rgb" else 1)
    shape = (plan.count, channels, size, size)
    _check_room(path.parent, int(np.prod(shape)))
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    lost: dict[int, str] = {}
    streams = (_rows(prepared, mean, video, *own) for video, own in plan.wanted.items())
    with (
        Progress("decoding", len(plan.wanted), "videos", log) as progress,
        read_ahead(streams, threads=prepared.options.workers, most=8) as found,
    ):
        for entry in found:
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
        for number, rows in plan.rows.items()
        if lost and not lost.keys().isdisjoint(rows.tolist())
    }


def _rows(
    prepared: Prepared, mean: Tensor, number: int, first: int, frames: Ints
) -> Iterator[Row | None]:
    """Yield the rows of one video, or why there is none, and None at its end."""
    video, options = prepared.videos[number], prepared.options
    places = {frame: first + place for place, frame in enumerate(frames.tolist())}
    prepare = partial(as_bytes, size=options.size, fit=options.fit, mean=mean)
    reader = decoding(options.decoder)
    for found in decode_all(video.path, video.index, frames, prepared.pixels, reader):
        if isinstance(found, Lost):
            yield from ((places[frame], found.reason) for frame in found.frames)
        else:
            yield places[found[0]], prepare(found[1], video.index)
    yield None


@torch.inference_mode()
def as_bytes(
    picture: Picture | Tensor, index: VideoIndex, *, size: int, fit: Fit, mean: Tensor
) -> NDArray[np.uint8]:
    """Return a frame as `pipeline.build.extract.preprocess.prepare` sees it, before mean and std.

    Parameters
    ----------
    picture : ndarray or Tensor, shape (height, width) or (height, width, 3)
    index : VideoIndex
    size, fit
        See `fit_square`.
    mean : Tensor of float32, shape (1 or 3, 1, 1)
        In 0..1; fills borders.

    Returns
    -------
    ndarray of uint8, shape (channels, size, size)
        0 to 255 stand for 0 to 1.
    """
    values, offset, span = pixel_values(picture[None], index, torch.device("cpu"))
    shares = (fit_square(values, size, fit)[0] - offset) / span
    if fit == "pad":
        shares = torch.where(shares.isnan(), mean, shares)
    found: NDArray[np.uint8] = (255 * shares).round().clamp(0, 255).to(torch.uint8).numpy()
    return found


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"The decoded frames take {human_size(needed)}, and {folder} has {human_size(free)} "
            "free; make room, give a smaller --size or --fps, or another place with --out."
        )
