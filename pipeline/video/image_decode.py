"""Decode the frames of a folder of numbered images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.video.errors import DecodeError, ImageError
from pipeline.video.image_header import is_animated_webp, read_header
from pipeline.video.images import image_range, numbered_images
from pipeline.video.index import VideoIndex, assumed_range
from pipeline.video.limits import most_pixels
from pipeline.video.opening import open_video
from pipeline.video.orientation import is_mirrored
from pipeline.video.tiff import is_followed, pixel_tags_only

TIFF_SUFFIXES = (".tif", ".tiff")
SEVERAL = "holds several pictures; store each in a separate image"


def image_frames(
    path: Path, index: VideoIndex, frames: NDArray[np.int64]
) -> Iterator[tuple[int, Any]]:
    """Yield (frame number, decoded frame) of some images.

    Raises
    ------
    DecodeError
        If an image is damaged, too large, or of another format than the first one.
    """
    images = numbered_images(path)
    for number in frames.tolist():
        try:
            yield number, _frame(images[number], index)
        except ImageError as error:
            raise DecodeError(path, number, f"{images[number].name} {error}") from None


def _frame(image: Path, index: VideoIndex) -> Any:
    """Decode an image.

    Raises
    ------
    ImageError
        If its values or orientation differ from those of the first image.
    """
    import av

    most = most_pixels(index.width, index.height)
    # Without the first option, a truncated JPEG decodes with a grey half.
    options = {"err_detect": "explode", "max_pixels": str(most)}
    data = _pixels_of_tiff(image) if image.suffix.lower() in TIFF_SUFFIXES else b""
    try:
        with open_video(image, data=data, max_pixels=most) as container:
            context = container.streams.video[0].codec_context
            context.options = options
            frame = next(container.decode(video=0))
            _check_scale(frame, index, context.name)
            _check_alone(container)
    except av.FFmpegError:
        if is_animated_webp(image):
            raise ImageError(SEVERAL) from None
        header = read_header(image)
        if header is not None and header.width * header.height > most:
            raise ImageError(
                f"is {header.width} x {header.height}; the limit is {most} pixels"
            ) from None
        raise
    _check_orientation(image, frame, index)
    return frame


def _pixels_of_tiff(image: Path) -> bytes:
    data = image.read_bytes()
    if is_followed(data):
        raise ImageError(SEVERAL)
    return pixel_tags_only(data)


def _check_alone(container: Any) -> None:
    """Refuse an animated image after its first frame."""
    # FFmpeg names the demuxers of single images "*_pipe".
    if container.format.name.endswith("_pipe"):
        return
    if next(container.decode(video=0), None) is not None:
        raise ImageError(SEVERAL)


def _check_scale(frame: Any, index: VideoIndex, codec: str) -> None:
    """Refuse an image if its values are scaled differently from those of the first image."""
    name, bits = frame.format.name, frame.format.components[0].bits
    values = image_range(name, assumed_range(name, bits, int(frame.color_range or 0), codec))
    # FFmpeg expands fewer than 8 bits to 8.
    if (max(bits, 8), values) != (max(index.bits, 8), index.pixel_range):
        raise ImageError(
            f"is {name}, {bits} bits, {values} range, but the first image is "
            f"{index.pixel_format}, {index.bits} bits, {index.pixel_range} range; convert them to "
            "one format"
        )


def _check_orientation(image: Path, frame: Any, index: VideoIndex) -> None:
    mirrored = is_mirrored(frame)
    if mirrored is None:  # PyAV hides it, but Pillow reads EXIF
        header = read_header(image)
        mirrored = header is not None and header.mirrored
    if mirrored != index.mirrored:
        raise ImageError(
            f"is {'' if mirrored else 'not '}mirrored by its EXIF orientation, unlike the first "
            "image; store all of them upright"
        )
