"""Plan a build: its clips, its feature configuration and its key; no torch, no decoding."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore.errors import CorruptStoreError
from featstore.format.container import SUFFIXES
from featstore.keys import ClipKey, store_key
from featstore.manage.catalogue import is_built, store_path
from featstore.urls import without_credentials
from featstore.writing.destinations import SUFFIX_OF
from pipeline.build.plan.clips import Clip, resolve
from pipeline.build.plan.extraction import Extraction, TrainingPixels
from pipeline.build.plan.leakage import check_unseen, read_training
from pipeline.build.plan.options import BuildOptions, feature_configuration
from pipeline.build.plan.sampling import Frames
from pipeline.build.plan.steps import check_rate, clip_inputs
from pipeline.build.plan.weights import Weights, find_weights
from pipeline.sources.base import Dataset
from pipeline.types import Log
from pipeline.video.cache import CACHE_FILE, Cache
from pipeline.video.modes import PixelSpec
from pipeline.video.videos import Video, read_videos

if TYPE_CHECKING:
    from pipeline.system.dask_cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """A plan of a store: what is extracted of which clips, and the key; made without decoding.

    Attributes
    ----------
    options : BuildOptions
    dataset : Dataset
    videos : list of Video
    clips, dropped : list of Clip
        In the order of the store, and those with too few frames.
    pixels : PixelSpec
    min_frames : int
        As asked for, or as the source advises.
    weights : Weights
    configuration : dict
        The feature configuration.
    key : str
        The store key.
    slug : str
        First part of the store's name.
    seconds : float
        How long planning took.
    """

    options: BuildOptions
    dataset: Dataset
    videos: list[Video]
    clips: list[Clip]
    dropped: list[Clip]
    pixels: PixelSpec
    min_frames: int
    weights: Weights
    configuration: dict[str, Any]
    key: str
    slug: str
    seconds: float

    @property
    def path(self) -> Path | str:
        """Where the store lies, or would lie; another name of the data does not build it twice."""
        suffix = SUFFIX_OF[self.options.format]
        if self.options.bucket:
            return f"{self.options.bucket.rstrip('/')}/{self.slug}-{self.key[:12]}{suffix}"
        return self._path(suffix)

    @property
    def shown_path(self) -> str:
        """The path, or the URL without credentials."""
        return without_credentials(str(self.path))

    @property
    def built(self) -> bool:
        """Whether the sealed store is there."""
        return is_built(self.path, self.key)

    @property
    def existing(self) -> Path | str | None:
        """Where the sealed store lies, in the format asked for or else in another one."""
        if self.built:
            return self.path
        for path in map(self._path, SUFFIXES):
            with suppress(CorruptStoreError):  # another format's damage
                if is_built(path, self.key):
                    return path
        return None

    @property
    def extraction(self) -> Extraction:
        """How features are computed."""
        options = self.options
        return Extraction(
            backbone=options.backbone,
            architecture=options.architecture,
            weights=self.weights,
            features=options.features,
            pixels=self.pixels,
            normalise=options.normalise,
            size=options.size,
            fit=options.fit,
            resample=options.resample,
            window=options.window if options.takes_windows else None,
            precision=options.precision,
            device=options.device,
            batch_size=options.batch_size,
            workers=options.workers,
            view=options.view,
        )

    @property
    def training_pixels(self) -> TrainingPixels:
        """The pixels that mean and std are measured on."""
        return TrainingPixels(
            normalise=self.options.normalise,
            videos=self.videos,
            clips=self.clips,
            pixels=self.pixels,
            skip_lost=self.options.max_failures.of(len(self.clips)) > 0,
            workers=self.options.workers,
        )

    def inputs(self) -> tuple[list[Frames], int]:
        """Return the frames of every step of every clip; see `clip_inputs`."""
        return clip_inputs(self.clips, self.videos, self.options, self.pixels.fps)

    def clip_keys(self) -> list[ClipKey]:
        """Return what the store key covers of each clip."""
        return [clip.key(self.videos, self.pixels.mode) for clip in self.clips]

    @property
    def rare(self) -> dict[str, dict[str, str]]:
        """What few clips and videos have of `ClipKey`, by their names; for the root attributes."""
        keys = self.clip_keys()
        values = {
            "shown": {key.clip_id: key.shown for key in keys if key.shown},
            "begins": {
                self.videos[clip.video].name: key.begins
                for clip, key in zip(self.clips, keys, strict=True)
                if key.begins
            },
        }
        return {name: entries for name, entries in values.items() if entries}

    @property
    def lost(self) -> dict[int, str]:
        """Why no frame of a clip can be read, by the number of the clip."""
        return {number: clip.lost for number, clip in enumerate(self.clips) if clip.lost}

    def _path(self, suffix: str) -> Path:
        return store_path(self.options.store, self.slug, self.key, suffix)


def cache_of(root: Path) -> Cache:
    """Return the cache of a folder of stores."""
    return Cache(root / CACHE_FILE)


def plan_build(
    options: BuildOptions,
    cache: Cache,
    log: Log,
    cluster: Cluster | None = None,
    *,
    download: bool = True,
) -> BuildPlan:
    """Read annotations and videos and compute the store key; nothing is decoded.

    Parameters
    ----------
    options : BuildOptions
    cache : Cache
    log : callable
    cluster : Cluster, optional
        Whose workers read the videos; by default this process does.
    download : bool
        Download weights that are not here. If not, the plan has no true key; see `Weights.absent`.

    Raises
    ------
    InputError
        For whatever is wrong with the flags, the annotations, the videos or the weights.
    """
    began = time.perf_counter()
    like = options.like
    # First, for weights may have to be downloaded.
    dataset = options.source.read(like.class_list if like else None)
    weights = find_weights(options.weights, options.backbone, cache, log, download=download)
    if like:
        like.check_weights(options.weights, weights.identity)
    keep_lost = bool(options.max_failures)
    named = {annotation.video: annotation.path for annotation in dataset.annotations}
    videos = read_videos(
        named,
        cache,
        image_rate=options.image_fps,
        max_pixels=options.max_pixels,
        workers=options.workers,
        keep_unreadable=keep_lost,
        log=log,
        cluster=cluster,
    )
    advised = Fraction(str(dataset.fps)) if dataset.fps is not None else None
    fps = None if options.every_frame else options.fps or advised
    check_rate(videos, fps)
    min_frames = options.min_frames or dataset.min_frames
    clips, dropped = resolve(dataset, videos, min_frames, fps=fps, keep_lost=keep_lost)
    training = read_training(weights.path) if weights.path else None
    if weights.path and training:
        for line in check_unseen(weights.path, training, options.source, dataset, clips, videos):
            log(line)
        weights = replace(weights, trained_on=training["title"])
    pixels = PixelSpec(options.pixels or dataset.pixels, fps, options.decoder)
    configuration = feature_configuration(options, pixels, weights.identity)
    key = store_key(
        configuration,
        dataset.classes,
        (clip.key(videos, pixels.mode) for clip in clips),
        subjects_known=dataset.subjects_known,
    )
    view = f"view {options.view.number} " if options.view else ""
    slug = f"{dataset.title} {view}{options.backbone}"
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", slug).strip("-")
    return BuildPlan(
        options=options,
        dataset=dataset,
        videos=videos,
        clips=clips,
        dropped=dropped,
        pixels=pixels,
        min_frames=min_frames,
        weights=weights,
        configuration=configuration,
        key=key,
        slug=slug,
        seconds=time.perf_counter() - began,
    )
