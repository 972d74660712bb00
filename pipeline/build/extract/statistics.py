"""Mean and std of the pixels of the training clips, exact, by counting every value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.keys import digest
from pipeline.build.extract.histograms import Sampled, Total, moments, total
from pipeline.build.plan.clips import Clip
from pipeline.build.plan.extraction import TrainingPixels
from pipeline.build.plan.options import EXTRACTION
from pipeline.build.plan.sampling import sample
from pipeline.system.progress import Progress
from pipeline.system.read_ahead import read_ahead
from pipeline.types import Ints, Log
from pipeline.video.cache import Cache
from pipeline.video.decoders import decoding
from pipeline.video.limits import decoders_at_once
from pipeline.video.pieces import pieces
from pipeline.video.pixels import Scale
from pipeline.video.videos import check_unchanged

if TYPE_CHECKING:
    from pipeline.system.dask_cluster import Cluster


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


def measure(
    training: TrainingPixels, cache: Cache, log: Log, cluster: Cluster | None = None
) -> Statistics:
    """Return mean and std of the pixels of the training clips, measured at most once.

    Parameters
    ----------
    training : TrainingPixels
    cache : Cache
        Keeps what was measured, under the content of the videos and the clips.
    log : callable
    cluster : Cluster, optional
        Whose workers decode; by default this process does.

    Raises
    ------
    InputError
        If there is no training clip, all of its pixels have one value, or a frame does not decode.
    """
    stored = known_statistics(training, cache)
    if stored is not None:
        return stored
    clips, videos = _training_clips(training.clips), training.videos
    measured = _measure(_sampled(training, clips), len(clips), training.workers, log, cluster)
    check_unchanged([videos[number] for number in sorted({clip.video for clip in clips})], cache)
    cache.keep_statistics(_key(training, clips), measured.as_json())
    return measured


def known_statistics(training: TrainingPixels, cache: Cache) -> Statistics | None:
    """Return the statistics of `measure` where they are known without decoding."""
    normalise = training.normalise
    if not normalise.measured:
        return Statistics(mean=normalise.mean, std=normalise.std, origin=normalise.origin)
    stored = cache.statistics(_key(training, _training_clips(training.clips)))
    if stored is None:
        return None
    return Statistics(**{**stored, "mean": tuple(stored["mean"]), "std": tuple(stored["std"])})


def _training_clips(clips: Sequence[Clip]) -> list[Clip]:
    train = [clip for clip in clips if clip.split == "train" and not clip.lost]
    if not train:
        raise InputError(
            "The split has no training clip to measure mean and std on; give --normalise MEAN,STD."
        )
    return train


def _key(training: TrainingPixels, clips: Sequence[Clip]) -> str:
    """Return the hash of what statistics are measured on."""
    videos, pixels = training.videos, training.pixels
    keys = [clip.key(videos, pixels.mode) for clip in clips]
    content = [[*key[1:5], *filter(None, [key.shown])] for key in keys]
    rates = sorted({str(videos[clip.video].index.time_base) for clip in clips})
    return digest(
        {
            "extraction": EXTRACTION,
            "decoder": pixels.decoder,
            "pixels": pixels.mode,
            "fps": str(pixels.fps),
            "time_bases": rates,
            "clips": content,
        }
    )


def _measure(
    works: Sequence[Sampled],
    clips: int,
    workers: int,
    log: Callable[[str], None],
    cluster: Cluster | None,
) -> Statistics:
    """Decode the training clips' frames once and count their values."""
    histograms: dict[Scale, Ints] = {}
    frames, count = 0, sum(len(work.frames) for work in works)
    with (
        Progress("statistics", count, "frames", log) as progress,
        _totals(works, workers, cluster) as totals,
    ):
        for histogram, decoded in totals:
            for scale, counts in histogram.items():
                histograms[scale] = histograms.get(scale, 0) + counts
            frames += decoded
            progress.advance(decoded, frames=decoded)
    if not histograms:
        raise InputError("No frame of the training clips decodes; look at the videos.")
    mean, std, pixels = moments(histograms)
    if min(std) == 0:
        raise InputError(
            f"All pixels of the {clips} training clips have one value, so they cannot be "
            "normalised; look at the videos, or give --normalise MEAN,STD."
        )
    return Statistics(mean=mean, std=std, origin="split", pixels=pixels, frames=frames, clips=clips)


@contextmanager
def _totals(
    works: Sequence[Sampled], workers: int, cluster: Cluster | None
) -> Iterator[Iterator[Total]]:
    """Give the totals of all works, or of pieces of them, in any order."""
    if cluster is not None:
        yield (
            counted for _, counted in cluster.map("pipeline.build.extract.histograms:total", works)
        )
        return
    for work in works:
        decoding(work.pixels.decoder)  # refuses what cannot be used here before any thread starts
    streams = (
        _counted(replace(work, frames=frames))
        for work in works
        for frames in pieces(work.video.index, work.frames, work.pixels.decoder)
    )
    largest = max((w.video.index.width * w.video.index.height for w in works), default=0)
    with read_ahead(streams, threads=decoders_at_once(workers, largest)) as counted:
        yield counted


def _counted(work: Sampled) -> Iterator[Total]:
    yield total(work)


def _sampled(training: TrainingPixels, clips: Sequence[Clip]) -> list[Sampled]:
    """Return which frames of which videos are looked at."""
    videos, pixels = training.videos, training.pixels
    frames_of: dict[int, list[NDArray[np.int64]]] = {}
    for clip in clips:
        frames = sample(videos[clip.video].index, clip.start, clip.stop, pixels.fps, clip.shown)
        frames_of.setdefault(clip.video, []).append(frames)
    return [
        Sampled(
            videos[number].anywhere(), np.unique(np.concatenate(parts)), pixels, training.skip_lost
        )
        for number, parts in frames_of.items()
    ]
