"""Strips of the frames of a run's clips, with the attention that its head pays to them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore import Store
from featstore.errors import FeatstoreError
from featstore.manage.catalogue import DEFAULT_STORE_ROOT
from pipeline.option_values import rate
from pipeline.report.html_strips import Strip
from pipeline.runs.files import read_metrics
from pipeline.train.evaluate import classify, own_store
from pipeline.types import Floats, Ints, Log
from pipeline.video.decode import Lost, decode_all
from pipeline.video.find import video_finder
from pipeline.video.modes import PixelMode
from pipeline.video.videos import Video

FRAMES, HEIGHT, MOST_WIDTH = 8, 72, 160
QUALITY = 70
BINS = 160
GREY = 128


def draw_strips(
    run: Path, clips: Sequence[str], *, videos: Path | None, log: Log
) -> dict[str, Strip | str]:
    """Return the strip of each clip, or the reason why there is none.

    Parameters
    ----------
    run : Path
    clips : sequence of str
        Ids of clips of the run's store.
    videos : Path or None
        Folder of the videos, if they have moved.
    log : callable
    """
    if not (find_spec("av") and find_spec("PIL")):
        return dict.fromkeys(clips, "PyAV or Pillow is not installed (pip install av pillow)")
    try:
        store = own_store(run)
        places = [one.path.parent for one in store.stores[:1] if isinstance(one.path, Path)]
        features = _features(store)
        if "imported" in features:
            return dict.fromkeys(clips, "the features were imported, and their videos are unknown")
        number = {clip: position for position, clip in enumerate(store.clip_ids.tolist())}
        known = [clip for clip in clips if clip in number]
        positions = np.array([number[clip] for clip in known], np.int64)
        attention = _attention(run, store, positions)
        image_fps = features.get("image_fps")
        find = video_finder(
            [*places, DEFAULT_STORE_ROOT],
            folder=videos,
            image_rate=None if image_fps is None else rate("image_fps", image_fps),
            log=log,
        )
        drawn: dict[str, Strip | str] = dict.fromkeys(clips, "the store no longer has this clip")
        for clip, position, weights in zip(known, positions.tolist(), attention, strict=True):
            drawn[clip] = _strip(store, position, weights, features, find)
    except (FeatstoreError, OSError) as error:
        return dict.fromkeys(clips, str(error).partition(";")[0].rstrip("."))
    return drawn


def _features(store: Store) -> Mapping[str, Any]:
    """Return the feature configuration; of several stores, that of the first."""
    features: Mapping[str, Any] = store.stores[0].attributes.get("features", {})
    return features


def _attention(run: Path, store: Store, clips: Ints) -> list[list[float]]:
    """Return the attention over each clip as multiples of uniform attention; empty without."""
    if read_metrics(run)["attention_entropy"] is None or not len(clips):
        return [[] for _ in clips]
    weights = classify(run, store, clips, device="cpu").attention
    return [_binned(one).tolist() for one in weights] if weights else [[] for _ in clips]


def _binned(weights: NDArray[np.float32]) -> Floats:
    """Return weights over at most `BINS` parts of a clip, as multiples of uniform weights."""
    parts = np.array_split(weights.astype(np.float64) * len(weights), min(BINS, len(weights)))
    return np.array([part.mean() for part in parts])


def _strip(
    store: Store,
    clip: int,
    attention: list[float],
    features: Mapping[str, Any],
    find: Callable[[str, str], Video | str],
) -> Strip | str:
    content = store.columns["video_sha256"][store.columns["video"][clip]]
    video = find(str(store.videos[clip]), str(content))
    if isinstance(video, str):
        return video
    steps = len(store.frames(clip))
    count = min(FRAMES, steps)
    middles = ((np.arange(count) + 0.5) * steps / count).astype(np.int64)
    frames, times = store.frames(clip)[middles], store.times(clip)[middles]
    if features.get("window") is not None:  # a step is a window: show the frame in its middle
        seconds = video.index.seconds
        if not np.isnan(times).any() and not np.isnan(seconds).any():
            frames = np.abs(seconds[None] - times[:, None]).argmin(axis=1)
    mode: PixelMode = "luma" if features.get("pixels") == "luma" else "rgb"
    pictures, reason = _pictures(video, frames, mode)
    if not pictures:
        return f"its frames do not decode: {reason}"
    jpeg, width, height = _side_by_side([pictures.get(int(frame)) for frame in frames])
    return Strip(
        jpeg=jpeg,
        width=width,
        height=height,
        frames=count,
        missing=sum(int(frame) not in pictures for frame in frames),
        begin=float(times[0]),
        end=float(times[-1]),
        attention=attention,
    )


def _pictures(video: Video, frames: Ints, mode: PixelMode) -> tuple[dict[int, NDArray[Any]], str]:
    """Return pictures by frame, and why the last lost frame did not decode."""
    pictures, reason = dict[int, NDArray[Any]](), ""
    for item in decode_all(video.path, video.index, np.unique(frames), mode):
        if isinstance(item, Lost):
            reason = item.reason
        else:
            pictures[item[0]] = np.asarray(item[1])
    return pictures, reason


def _side_by_side(pictures: Sequence[NDArray[Any] | None]) -> tuple[bytes, int, int]:
    """Return frames next to each other as a JPEG picture, with its width and height."""
    from PIL import Image

    there = [picture for picture in pictures if picture is not None]
    tall, wide = there[0].shape[:2]
    width = min(MOST_WIDTH, max(1, round(HEIGHT * wide / tall)))
    scaled = _scale(there)
    strip = Image.new("RGB", (width * len(pictures), HEIGHT), (GREY, GREY, GREY))
    for number, picture in enumerate(pictures):
        if picture is None:
            continue
        small = tall < HEIGHT
        image = Image.fromarray(scaled(picture)).resize(
            (width, HEIGHT), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        )
        strip.paste(image, (width * number, 0))
    if there[0].ndim == 2:
        strip = strip.convert("L")
    file = io.BytesIO()
    strip.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue(), *strip.size


def _scale(pictures: Sequence[NDArray[Any]]) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """Return what makes pictures of 8 bits; grey ones are stretched to the range of the clip."""
    low, high = 0.0, 255.0
    if pictures[0].ndim == 2:
        values = np.concatenate([picture[::2, ::2].ravel() for picture in pictures])
        low, high = np.quantile(values, [0.005, 0.995]).tolist()

    def scale(picture: NDArray[Any]) -> NDArray[np.uint8]:
        values = (picture.astype(np.float32) - low) * (255 / max(1.0, high - low))
        return values.clip(0, 255).astype(np.uint8)

    return scale
