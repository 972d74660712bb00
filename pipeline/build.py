"""Stage one: from annotated videos to a sealed store.

`prepare` finds out what is asked for and gives it its key, without importing torch or zarr;
`build` does what is not done yet.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore import schema
from featstore.catalogue import remember_last, store_path
from featstore.errors import CorruptStoreError, InputError, StoreNotFoundError
from featstore.keys import store_key
from featstore.locks import writer_lock
from featstore.store import read_attributes
from pipeline.clips import Clip, counts, resolve
from pipeline.options import BuildOptions, PixelMode, feature_configuration
from pipeline.plan import check_rate, clip_inputs, columns, segments
from pipeline.progress import Progress
from pipeline.provenance import write_provenance
from pipeline.sources.base import Dataset
from pipeline.video.cache import Cache
from pipeline.video.catalogue import Video, read_videos
from pipeline.weights import Weights, find_weights, load_backbone

if TYPE_CHECKING:
    from featstore.layout import Layout
    from featstore.writer import StoreWriter
    from pipeline.extract import Extractor
    from pipeline.sampling import Frames
    from pipeline.statistics import Statistics

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a build is to make, known without decoding a frame.

    Attributes
    ----------
    options : BuildOptions
    dataset : Dataset
    videos : list of Video
    clips, dropped : list of Clip
        In the order of the store, and those with too few frames.
    pixels, fps, min_frames
        As asked for, or as the source advises.
    weights : Weights
    configuration : dict
        The feature configuration.
    key : str
        The store key.
    slug : str
        What the store's name begins with.
    seconds : float
        How long it took to find all this out.
    """

    options: BuildOptions
    dataset: Dataset
    videos: list[Video]
    clips: list[Clip]
    dropped: list[Clip]
    pixels: PixelMode
    fps: Fraction | None
    min_frames: int
    weights: Weights
    configuration: dict[str, Any]
    key: str
    slug: str
    seconds: float

    @property
    def path(self) -> Path:
        """Where the store lies, or would lie; another name of the data does not build it twice."""
        return store_path(self.options.store, self.slug, self.key)

    @property
    def built(self) -> bool:
        """Whether the sealed store is there."""
        try:
            return bool(read_attributes(self.path)["key"] == self.key)
        except StoreNotFoundError:
            if self.path.exists():
                raise InputError(
                    f"{self.path} is in the way and is not a store; remove it and build again."
                ) from None
            return False
        except CorruptStoreError as error:
            raise CorruptStoreError(
                f"{error} To build it again, remove {self.path} first."
            ) from None


def cache_of(root: Path) -> Cache:
    """Return the cache of a folder of stores."""
    return Cache(root / ".cache.sqlite")


def prepare(options: BuildOptions, cache: Cache, log: Log) -> Prepared:
    """Read annotations and videos and compute the store key; nothing is decoded.

    Raises
    ------
    InputError
        For whatever is wrong with the flags, the annotations, the videos or the weights.
    """
    began = time.perf_counter()
    dataset = options.source.read()  # first, for weights may have to be downloaded
    weights = find_weights(options.weights, options.backbone, cache, log)
    named = {annotation.video: annotation.path for annotation in dataset.annotations}
    videos = read_videos(
        named, cache, image_rate=options.image_fps, workers=options.workers, log=log
    )
    advised = Fraction(str(dataset.fps)) if dataset.fps is not None else None
    fps = None if options.every_frame else options.fps or advised
    check_rate(videos, fps)
    min_frames = options.min_frames or dataset.min_frames
    clips, dropped = resolve(dataset, videos, min_frames)
    pixels = options.pixels or dataset.pixels
    configuration = feature_configuration(options, pixels, fps, weights.identity)
    key = store_key(
        configuration,
        dataset.classes,
        (clip.key(videos) for clip in clips),
        subjects_known=dataset.subjects_known,
    )
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", f"{dataset.title} {options.backbone}").strip("-")
    return Prepared(
        options=options,
        dataset=dataset,
        videos=videos,
        clips=clips,
        dropped=dropped,
        pixels=pixels,
        fps=fps,
        min_frames=min_frames,
        weights=weights,
        configuration=configuration,
        key=key,
        slug=slug,
        seconds=time.perf_counter() - began,
    )


def measure(prepared: Prepared, cache: Cache, log: Log) -> Statistics:
    """Return mean and std of the pixels of the split's training clips."""
    from pipeline.statistics import statistics_of

    return statistics_of(
        prepared.options.normalise,
        prepared.videos,
        prepared.clips,
        mode=prepared.pixels,
        fps=prepared.fps,
        workers=prepared.options.workers,
        cache=cache,
        log=log,
    )


def build(prepared: Prepared, cache: Cache, log: Log) -> dict[str, float]:
    """Build the store, or find that it is there.

    Returns
    -------
    dict of str to float
        Seconds by stage; empty where there was nothing to do.

    Raises
    ------
    BusyError
        If another process is building the same store.
    InputError
        If the weights do not fit, a frame does not decode, or the disk is too small.
    """
    if prepared.built:
        remember_last(prepared.options.store, prepared.path)
        return {}
    with writer_lock(prepared.options.store, prepared.key):
        if prepared.built:  # by whoever held the lock before
            remember_last(prepared.options.store, prepared.path)
            return {}
        began = time.perf_counter()
        seconds = {"index": prepared.seconds, **_build(prepared, cache, log)}
        seconds["total"] = prepared.seconds + time.perf_counter() - began
        write_provenance(
            prepared.path,
            seconds,
            weights=str(prepared.weights),
            dropped=f"{len(prepared.dropped)} clips shorter than {prepared.min_frames} frames",
        )
        remember_last(prepared.options.store, prepared.path)
        return seconds


def _build(prepared: Prepared, cache: Cache, log: Log) -> dict[str, float]:
    since = time.perf_counter()
    # Imported here, because a build that finds its store must not pay for torch and zarr.
    from featstore.layout import Layout, default_chunk_rows
    from featstore.writer import Contents, StoreWriter
    from pipeline.device import choose_device
    from pipeline.extract import Extractor, batch_shape, feature_dim, numerics

    options = prepared.options
    device = choose_device(options.device)
    backbone = load_backbone(options.backbone, prepared.weights)
    inputs, repeated = clip_inputs(prepared.clips, prepared.videos, options, prepared.fps)
    table = columns(prepared.clips, prepared.videos, prepared.dataset.classes, inputs)
    shape = batch_shape(options, device)
    dim = feature_dim(backbone, shape, device)
    layout = Layout(table["row_size"], dim, default_chunk_rows(dim, int(table["row_size"].sum())))
    check_space(prepared.path.parent, layout)
    loading = time.perf_counter() - since
    since = time.perf_counter()
    statistics = measure(prepared, cache, log)
    measuring = time.perf_counter() - since

    extractor = Extractor(backbone, prepared.videos, options, prepared.pixels, statistics, device)
    attributes = _attributes(prepared, statistics, repeated)
    attributes |= {"steps": layout.steps, "dim": dim}
    attributes["numerics"] = numerics(device, shape)
    writer = StoreWriter(prepared.path, Contents(layout, table, attributes))
    try:
        sealing = _extract(prepared, extractor, inputs, layout, writer, log)
    except BaseException:
        writer.discard()
        raise
    stages = extractor.timings.seconds
    return {"load": loading, "statistics": measuring, **stages, "seal": sealing}


def _extract(
    prepared: Prepared,
    extractor: Extractor,
    inputs: list[Frames],
    layout: Layout,
    writer: StoreWriter,
    log: Log,
) -> float:
    """Write every unit and seal; return the seconds that sealing took."""
    units = layout.units()
    work = [segments(prepared.clips, inputs, layout, first, last) for first, last in units]
    with Progress("extracting", len(prepared.clips), "clips", log) as progress:
        finished = rows_done = 0

        def tick(inputs: int, frames: int) -> None:
            # A row that shares its input with another is counted when its unit is written.
            nonlocal finished, rows_done
            rows_done += inputs
            now = int(layout.offsets.searchsorted(rows_done, "right")) - 1
            progress.advance(now - finished, frames)
            finished = now

        for (first, last), rows in zip(units, extractor.units(work, tick), strict=True):
            since = time.perf_counter()
            writer.write(first, rows)
            extractor.timings.add("write", since)
            tick(last - rows_done, 0)
    since = time.perf_counter()
    writer.seal({})
    return time.perf_counter() - since


def check_space(root: Path, layout: Layout) -> None:
    """Refuse to begin where the disk cannot hold the store.

    Raises
    ------
    InputError
    """
    needed, free = store_bytes(layout.steps, layout.dim), shutil.disk_usage(root).free
    if needed > free:
        raise InputError(
            f"The store needs {needed / 1e9:.2f} GB, and {root} has {free / 1e9:.2f} GB free; make "
            "room, or give another folder with --store."
        )


def store_bytes(steps: int, dim: int) -> int:
    """Return about how many bytes a store takes: features, frame numbers and times."""
    return steps * (4 * dim + 16) + 2**20


def _attributes(prepared: Prepared, statistics: Statistics, repeated: int) -> dict[str, Any]:
    parts = counts(prepared.clips, "label")
    return {
        schema.SCHEMA_ATTRIBUTE: schema.VERSION,
        "key": prepared.key,
        "title": prepared.dataset.title,
        "features": prepared.configuration,
        "statistics": statistics.as_json(),
        "subjects_known": prepared.dataset.subjects_known,
        "untrained": prepared.weights.untrained,
        "clips": {part: sum(labels.values()) for part, labels in parts.items()},
        "repeated_last_frame": repeated,
    }
