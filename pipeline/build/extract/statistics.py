"""Mean and std of the pixels of the training clips, exact, by counting every value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    training: TrainingPixels,
    cache: Cache,
    log: Log,
    cluster: Cluster | None = None,
    *,
    also: Sequence[TrainingPixels] = (),
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
    also : sequence of TrainingPixels
        Measured and kept as well, such as those of other splits. A video with the same frames in
        several of them is decoded once.

    Raises
    ------
    InputError
        If there is no training clip, all of its pixels have one value, or a frame does not decode.
    """
    stored = known_statistics(training, cache)
    if stored is not None:
        return stored
    missing = {
        _key(one, clips): (one, clips)
        for one in (training, *also)
        if known_statistics(one, cache) is None
        for clips in [_training_clips(one.clips)]
    }
    works_of = [_sampled(one, clips) for one, clips in missing.values()]
    totals = _count(works_of, training.workers, log, cluster)
    results = []
    for (key, (one, clips)), parts in zip(missing.items(), totals, strict=True):
        measured = _statistics(parts, len(clips))
        videos = sorted({clip.video for clip in clips})
        check_unchanged([one.videos[number] for number in videos], cache)
        cache.keep_statistics(key, measured.as_json())
        results.append(measured)
    return results[0]


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


def _count(
    works_of: Sequence[Sequence[Sampled]], workers: int, log: Log, cluster: Cluster | None
) -> list[list[Total]]:
    """Decode the frames of every work once and count their values; return the parts of each list.

    Works of the same lists are added up at once, so that memory does not grow with the videos.
    """
    once: dict[tuple[str, bytes], Sampled] = {}
    lists: dict[tuple[str, bytes], tuple[int, ...]] = {}
    for number, works in enumerate(works_of):
        for work in works:
            name = str(work.video.path), work.frames.tobytes()
            once[name], lists[name] = work, (*lists.get(name, ()), number)
    lists_of, count = list(lists.values()), sum(len(work.frames) for work in once.values())
    sums: dict[tuple[int, ...], Total] = {}
    with (
        Progress("statistics", count, "frames", log) as progress,
        _totals(list(once.values()), workers, cluster) as totals,
    ):
        for number, part in totals:
            several = lists_of[number]
            sums[several] = _sum([sums.get(several, ({}, 0)), part])
            progress.advance(part[1], frames=part[1])
    return [
        [part for several, part in sums.items() if number in several]
        for number in range(len(works_of))
    ]


def _sum(parts: Iterable[Total]) -> Total:
    histograms: dict[Scale, Ints] = {}
    frames = 0
    for histogram, decoded in parts:
        for scale, counts in histogram.items():
            histograms[scale] = histograms.get(scale, 0) + counts
        frames += decoded
    return histograms, frames


def _statistics(parts: Sequence[Total], clips: int) -> Statistics:
    """Return mean and std of counted values."""
    histograms, frames = _sum(parts)
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
) -> Iterator[Iterator[tuple[int, Total]]]:
    """Give the totals of all works, or of pieces of them, in any order, with the work's number."""
    if cluster is not None:
        yield cluster.map("pipeline.build.extract.histograms:total", works)
        return
    for work in works:
        decoding(work.pixels.decoder)  # refuses what cannot be used here before any thread starts
    streams = (
        _counted(number, replace(work, frames=frames))
        for number, work in enumerate(works)
        for frames in pieces(work.video.index, work.frames, work.pixels.decoder)
    )
    largest = max((w.video.index.width * w.video.index.height for w in works), default=0)
    with read_ahead(streams, threads=decoders_at_once(workers, largest)) as counted:
        yield counted


def _counted(number: int, work: Sampled) -> Iterator[tuple[int, Total]]:
    yield number, total(work)


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
