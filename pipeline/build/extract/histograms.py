"""Values of pixels, counted: exact, and small enough to travel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Ints
from pipeline.video.decode import Lost, decode_all
from pipeline.video.decoders import decoding
from pipeline.video.modes import PixelSpec
from pipeline.video.pixels import Picture, Scale, value_scale
from pipeline.video.videos import Video

if TYPE_CHECKING:
    from torch import Tensor

Total = tuple[dict[Scale, Ints], int]


@dataclass(frozen=True, slots=True)
class Sampled:
    """Frames of one video whose values are to be counted.

    Attributes
    ----------
    video : Video
    frames : ndarray of int64
        Ascending, each once.
    pixels : PixelSpec
    skip_lost : bool
        Leave out frames that do not decode.
    """

    video: Video
    frames: NDArray[np.int64]
    pixels: PixelSpec
    skip_lost: bool


def total(work: Sampled) -> Total:
    """Return the histograms of all frames together, and how many frames there are.

    Raises
    ------
    DecodeError
        If a frame does not decode, and such are not left out.
    """
    histograms: dict[Scale, Ints] = {}
    frames = 0
    pixels_of = decoding(work.pixels.decoder)
    every = partial(decode_all, decoding=pixels_of) if work.skip_lost else pixels_of
    for frame in every(work.video.path, work.video.index, work.frames, work.pixels.mode):
        if not isinstance(frame, Lost):
            _, picture = frame
            scale = value_scale(work.video.index, work.pixels.mode, picture.dtype)
            histograms[scale] = histograms.get(scale, 0) + _histogram(picture)
            frames += 1
    return histograms, frames


def _histogram(picture: Picture | Tensor) -> Ints:
    """Count values by channel, shape (channels, 2 ** bits of the dtype)."""
    if not isinstance(picture, np.ndarray):  # on a GPU: only the counts leave it
        histograms = [picture[..., c].flatten().bincount(minlength=256) for c in range(3)]
        return np.stack([counts.cpu().numpy() for counts in histograms])
    channels = [picture] if picture.ndim == 2 else [picture[..., c] for c in range(3)]
    levels = int(np.iinfo(picture.dtype).max) + 1
    return np.stack([np.bincount(c.ravel(), minlength=levels) for c in channels])


def moments(
    histograms: dict[Scale, Ints],
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
            pairs = list(zip(counts[channel].tolist(), values, strict=True))
            total += sum(count for count, _ in pairs)
            first += Fraction(sum(count * value for count, value in pairs), span)
            second += Fraction(sum(count * value * value for count, value in pairs), span**2)
        mean = first / total
        means.append(float(mean))
        stds.append(math.sqrt(second / total - mean * mean))
        pixels = total
    return tuple(means), tuple(stds), pixels
