"""Read a folder of numbered images as a video."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np

from featstore.errors import InputError
from pipeline.sources.files import IMAGE_SUFFIXES, visible_entries
from pipeline.sources.names import check_utf8
from pipeline.video.image_header import read_header
from pipeline.video.index import PixelRange, VideoIndex, read_index
from pipeline.video.limits import MAX_PIXELS, check_size


def numbered_images(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of the last number in their names.

    Raises
    ------
    InputError
        If there is no image, an image has no number, or numbers repeat or are missing.
    """
    images = [path for path in visible_entries(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise InputError(f"{folder} holds no images; put the numbered images of a video into it.")
    numbers: dict[int, Path] = {}
    for path in images:
        check_utf8(path)
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise InputError(f"{path} has no number in its name; number all images evenly.")
        other = numbers.setdefault(int(digits[-1]), path)
        if other != path:
            raise InputError(f"{other.name} and {path.name} in {folder} have the same number.")
    ordered = sorted(numbers)
    gaps = np.diff(ordered)
    if len(gaps) and gaps.max() != gaps.min():
        last = ordered[int(np.argmax(gaps > gaps.min()))]
        raise InputError(
            f"{folder}: images are missing after {numbers[last].name}, because there is no number "
            f"{last + int(gaps.min())}; put them back, or number all images evenly."
        )
    return [numbers[number] for number in ordered]


def image_range(pixel_format: str, assumed: PixelRange) -> PixelRange:
    """Return the range of an image's values: full, unless it is limited YUV, as in WebP."""
    return assumed if pixel_format.startswith("yuv") else "full"


def index_images(folder: Path, rate: Fraction | None, max_pixels: int = MAX_PIXELS) -> VideoIndex:
    """Return the index of a folder of numbered images.

    Parameters
    ----------
    folder : Path
    rate : Fraction or None
        Images per second; if None, times are image counts.
    max_pixels : int
        Most pixels in an image.

    Raises
    ------
    InputError
        If the first image is larger, or cannot be read.
    """
    images = numbered_images(folder)
    header = read_header(images[0])
    if header is not None:
        check_size(images[0], header.width, header.height, max_pixels)
    first = read_index(images[0])
    frames = np.arange(len(images), dtype=np.int64)
    return VideoIndex(
        pts=frames,
        keys=frames,
        time_base=1 / rate if rate else Fraction(1),
        end=len(images),
        width=first.width,
        height=first.height,
        pixel_format=first.pixel_format,
        bits=first.bits,
        pixel_range=image_range(first.pixel_format, first.pixel_range),
        timed=rate is not None,
        mirrored=header is not None and header.mirrored,
        palette=first.palette,
    )
