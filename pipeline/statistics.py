"""Mean and std of the pixels of the training clips, exact, by counting every value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.keys import digest
from pipeline.clips import Clip
from pipeline.options import EXTRACTION, PixelMode, fixed_normalisation
from pipeline.progress import Progress
from pipeline.read_ahead import read_ahead
from pipeline.sampling import sample
from pipeline.video.cache import Cache
from pipeline.video.catalogue import Video, check_unchanged
from pipeline.video.decode import Lost, Picture, decode, decode_all
from pipeline.video.index import VideoIndex

Counts = NDArray[np.int64]
Scale = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Mean and std of pixels in 0..1, and what they were measured on.

    Attributes
    ----------
    mean, std : tuple of float
        One value for luma, three for RGB; the std is that of the population.
    origin : str
        ``split``, ``imagenet`` or ``fixed``.
    pixels, frames, clips : int
        How many they come from; 0 where they were not measured. A frame that several clips share
        counts once.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str
    pixels: int = 0
    frames: int = 0
    clips: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}


def value_scale(index: VideoIndex, mode: PixelMode, dtype: np.dtype[Any]) -> Scale:
    """Return (offset, span): a pixel ``v`` stands for ``(v - offset) / span``, clipped to 0..1.

    Limited luma is 16 to 235; full values divide by the largest that their bits allow. RGB comes
    from FFmpeg in full range.
    """
    if mode == "luma" and dtype == np.uint16:
        return 0, 2**index.bits - 1
    return (16, 219) if mode == "luma" and index.pixel_range == "limited" else (0, 255)


def statistics_of(
    normalise: str,
    videos: Sequence[Video],
    clips: Sequence[Clip],
    *,
    mode: PixelMode,
    fps: Fraction | None,
    workers: int,
    skip_lost: bool = False,
    cache: Cache,
    log: Callable[[str], None],
) -> Statistics:
    """Return the statistics that ``--normalise`` asks for, measured at most once.

    Parameters
    ----------
    normalise : str
        ``split``, ``imagenet`` or ``MEAN,STD``.
    videos : sequence of Video
    clips : sequence of Clip
        All clips; only those of the training part are looked at.
    mode : {"luma", "rgb"}
    fps : Fraction or None
    workers : int
        Videos decoded at once.
    skip_lost : bool
        Leave out frames that do not decode.
    cache : Cache
        Keeps what was measured, under the content of the videos and the clips.
    log : callable

    Raises
    ------
    InputError
        If there is no training clip, all of its pixels have one value, or a frame does not decode.
    """
    known = known_statistics(normalise, videos, clips, mode=mode, fps=fps, cache=cache)
    if known is not None:
        return known
    train = _training_clips(videos, clips)
    measured = _measure(videos, train, mode, fps, workers, skip_lost, log)
    check_unchanged([videos[number] for number in sorted({clip.video for clip in train})], cache)
    cache.keep_statistics(_key(videos, train, mode, fps), measured.as_json())
    return measured


def known_statistics(
    normalise: str,
    videos: Sequence[Video],
    clips: Sequence[Clip],
    *,
    mode: PixelMode,
    fps: Fraction | None,
    cache: Cache,
) -> Statistics | None:
    """Return the statistics of `statistics_of` where they are known without decoding."""
    fixed = fixed_normalisation(normalise)
    if fixed is not None:
        origin = "imagenet" if normalise == "imagenet" else "fixed"
        return Statistics(mean=fixed[0], std=fixed[1], origin=origin)
    known = cache.statistics(_key(videos, _training_clips(videos, clips), mode, fps))
    if known is None:
        return None
    return Statistics(**{**known, "mean": tuple(known["mean"]), "std": tuple(known["std"])})


def _training_clips(videos: Sequence[Video], clips: Sequence[Clip]) -> list[Clip]:
    train = [clip for clip in clips if clip.split == "train" and not videos[clip.video].unreadable]
    if not train:
        raise InputError(
            "The split has no training clip to measure mean and std on; give --normalise MEAN,STD."
        )
    return train


def _key(
    videos: Sequence[Video], train: Sequence[Clip], mode: PixelMode, fps: Fraction | None
) -> str:
    """Return the hash of what statistics are measured on."""
    content = [list(clip.key(videos)[1:5]) for clip in train]
    rates = sorted({str(videos[clip.video].index.time_base) for clip in train})
    return digest(
        {
            "extraction": EXTRACTION,
            "pixels": mode,
            "fps": str(fps),
            "time_bases": rates,
            "clips": content,
        }
    )


def _measure(
    videos: Sequence[Video],
    clips: Sequence[Clip],
    mode: PixelMode,
    fps: Fraction | None,
    workers: int,
    skip_lost: bool,
    log: Callable[[str], None],
) -> Statistics:
    """Decode the training clips' frames once and count their values."""
    wanted: dict[int, list[Clip]] = {}
    for clip in clips:
        wanted.setdefault(clip.video, []).append(clip)

    def counted(number: int, own: list[Clip]) -> Iterator[tuple[int, Scale, Counts | None]]:
        """Yield the histogram of every frame, then one item that says that the clips are done."""
        video = videos[number]
        frames = [sample(video.index, clip.start, clip.stop, fps) for clip in own]
        wanted = np.unique(np.concatenate(frames))
        decoding = decode_all if skip_lost else decode
        for found in decoding(video.path, video.index, wanted, mode):
            if isinstance(found, Lost):
                continue
            _, picture = found
            yield 0, value_scale(video.index, mode, picture.dtype), _histogram(picture)
        yield len(own), (0, 0), None

    histograms: dict[Scale, Counts] = {}
    frames = 0
    streams = (counted(number, own) for number, own in wanted.items())
    with (
        Progress("statistics", len(clips), "clips", log) as progress,
        read_ahead(streams, threads=workers) as counts,
    ):
        for done, scale, histogram in counts:
            if histogram is not None:
                histograms[scale] = histograms.get(scale, 0) + histogram
                frames += 1
            progress.advance(done, frames=int(histogram is not None))
    if not histograms:
        raise InputError("No frame of the training clips decodes; look at the videos.")
    mean, std, pixels = moments(histograms)
    if min(std) == 0:
        raise InputError(
            f"All pixels of the {len(clips)} training clips have one value, so they cannot be "
            "normalised; look at the videos, or give --normalise MEAN,STD."
        )
    return Statistics(
        mean=mean, std=std, origin="split", pixels=pixels, frames=frames, clips=len(clips)
    )


def _histogram(picture: Picture) -> Counts:
    """Count values by channel, shape (channels, 2 ** bits of the dtype)."""
    channels = [picture] if picture.ndim == 2 else [picture[..., c] for c in range(3)]
    levels = int(np.iinfo(picture.dtype).max) + 1
    return np.stack([np.bincount(c.ravel(), minlength=levels) for c in channels])


def moments(
    histograms: dict[Scale, Counts],
) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Return mean, population std and number of pixels of histograms, in exact arithmetic.

    Parameters
    ----------
    histograms : dict of (offset, span) to ndarray of int64, shape (channels, levels)

    Examples
    --------
    >>> moments({(0, 4): np.array([[1, 0, 0, 0, 1]])})
    ((0.5,), (0.5,), 2)
    """
    channels = {len(counts) for counts in histograms.values()}.pop()
    means, stds = [], []
    pixels = 0
    for channel in range(channels):
        total, first, second = 0, Fraction(0), Fraction(0)
        for (offset, span), counts in histograms.items():
            values = np.clip(np.arange(counts.shape[1]) - offset, 0, span).tolist()
            own = list(zip(counts[channel].tolist(), values, strict=True))
            total += sum(count for count, _ in own)
            first += Fraction(sum(count * value for count, value in own), span)
            second += Fraction(sum(count * value * value for count, value in own), span**2)
        mean = first / total
        means.append(float(mean))
        stds.append(math.sqrt(second / total - mean * mean))
        pixels = total
    return tuple(means), tuple(stds), pixels
