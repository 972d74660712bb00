"""The backbones of a run: one for each store that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featstore import InputError, Store
from pipeline.build.extract.backbone import Forward, load_forward
from pipeline.build.extract.statistics import Statistics
from pipeline.build.plan.extraction import Extraction
from pipeline.build.plan.like import Like, read_like
from pipeline.build.plan.normalisation import Normalisation
from pipeline.build.plan.weights import find_weights
from pipeline.option_values import rate
from pipeline.runs.files import read_config, read_metrics
from pipeline.train.data.views import VIEW
from pipeline.train.evaluate import own_store
from pipeline.types import Log
from pipeline.video.cache import Cache
from pipeline.video.modes import PixelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What computes the features of one of the stores that a run was trained on.

    Attributes
    ----------
    like : Like
        What decides the features.
    forward : Forward
        The backbone.
    statistics : Statistics
        Mean and std of the pixels.
    pixels : PixelSpec
    window : (int, int) or None
        Frames in an input of a video backbone, and between two inputs.
    """

    like: Like
    forward: Forward
    statistics: Statistics
    pixels: PixelSpec
    window: tuple[int, int] | None


def likes_of(run: Path) -> list[Like]:
    """Return what decides the features of each store of a run; of views, those of the plain store.

    Raises
    ------
    InputError
        If features were imported or are those of an augmented view, or several stores are gone or
        are of different videos.
    """
    likes = _every_like(run)
    plain = likes[:1] if is_of_views(run) else likes
    for like in plain:
        if VIEW in like.features:
            raise InputError(
                f"{run} was trained on an augmented view, {like.origin}, and predictions take the "
                "plain picture; train on the plain store, or with --views."
            )
    return plain


def is_of_views(run: Path) -> bool:
    """Tell whether a run was trained on augmented views; its head takes the features of one."""
    return read_metrics(run).get("fusion") == "views"


def _every_like(run: Path) -> list[Like]:
    paths = read_config(run)["store"]["path"]
    if isinstance(paths, str):
        return [read_like(run)]
    first, *others = own_store(run).stores
    for other in others:
        if not _videos(first) & _videos(other):
            raise InputError(
                f"{run} was trained on stores of different videos, {first.title} and "
                f"{other.title}, and a prediction takes one recording; train on one view."
            )
    return [read_like(path) for path in paths]


def _videos(store: Store) -> set[str]:
    return {clip.video for clip in store.clip_keys()}


def load_member(
    like: Like,
    weights: str | None,
    batch_size: int | None,
    cache: Cache,
    device: str,
    workers: int,
    log: Log,
) -> Member:
    """Load the backbone of one store; see `pipeline.predict.trained.load_trained`."""
    options = like.options()
    text = weights or like.find_weights()
    backbone_weights = find_weights(text, like.backbone, cache, log)
    like.check_weights(text, backbone_weights.identity)
    fps = None if options["every_frame"] else rate("fps", options["fps"])
    pixels = PixelSpec(options["pixels"], fps, options["decoder"])
    window = (options["window"], options["hop"]) if "window" in options else None
    normalise = Normalisation.parse(options["normalise"])
    forward = load_forward(
        Extraction(
            backbone=like.backbone,
            architecture=options["architecture"],
            weights=backbone_weights,
            features=options["features"],
            pixels=pixels,
            normalise=normalise,
            size=options["size"],
            fit=options["fit"],
            resample=options["resample"],
            window=window[0] if window else None,
            precision=options["precision"],
            device=device,
            batch_size=batch_size,
            workers=workers,
        )
    )
    return Member(
        like=like,
        forward=forward,
        statistics=Statistics(mean=normalise.mean, std=normalise.std, origin=normalise.origin),
        pixels=pixels,
        window=window,
    )


def check_same_frames(run: Path, members: Sequence[Member]) -> None:
    """Refuse stores whose steps are not of the same frames.

    Raises
    ------
    InputError
    """
    first, *others = (_frames_of(member) for member in members)
    for other in others:
        if other != first:
            raise InputError(
                f"The stores of {run} take different frames ({first}; {other}), and predictions "
                "need the same; train on stores with one --fps, --window and --hop."
            )


def _frames_of(member: Member) -> str:
    """Return which frames a store takes, as flags."""
    fps = "all" if member.pixels.fps is None else f"{float(member.pixels.fps):g}"
    image_fps, window = member.like.features["image_fps"], member.window
    flags = [f"--fps {fps}"]
    flags += [f"--image-fps {image_fps}"] if image_fps is not None else []
    flags += [f"--window {window[0]} --hop {window[1]}"] if window else []
    return " ".join(flags)
