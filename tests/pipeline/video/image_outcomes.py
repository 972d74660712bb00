"""Folders of images in every depth, compared with what Pillow reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featstore.errors import InputError
from pipeline.video.decode import decode
from pipeline.video.images import index_images
from pipeline.video.modes import PixelMode
from tests.pipeline.video.codings import IMAGES
from tests.pipeline.video.combinations import EQUAL

COUNT = 6
SUBSETS = [[*range(COUNT)], [5], [0], [1, 4], [0, 2, 4]]
# Two libraries enlarge the chroma of JPEG and WebP differently, and make palettes grey.
MEAN_OFF, GREY_OFF = 3, 1


def write_folder(folder: Path, coding: str) -> Path:
    """Write a folder of moving pictures in one of the codings of `IMAGES`."""
    suffix, mode, options = IMAGES[coding]
    folder.mkdir()
    for number in range(COUNT):
        _picture(number, mode).save(folder / f"{number:03}.{suffix}", **options)
    return folder


def _picture(number: int, mode: str) -> Image.Image:
    rows, columns = np.mgrid[:48, :64]
    grey = (rows * 2 + columns + 20 * number) % 256
    if mode == "1":
        return Image.fromarray(grey > 120)
    if mode == "I;16":
        return Image.fromarray((grey * 257 + number).astype(np.uint16))
    colours = np.stack([grey, grey[::-1], np.roll(grey, 9, axis=1)], axis=-1).astype(np.uint8)
    image = Image.fromarray(colours)
    return image.quantize(32) if mode == "P" else image.convert(mode)


def outcome_of_images(folder: Path) -> str:
    """Return `EQUAL`, a sentence that refuses the folder, or what is wrong."""
    paths = sorted(folder.iterdir())
    with Image.open(paths[0]) as image:
        grey, lossless = image.mode in ("1", "L", "I;16"), image.format not in ("JPEG", "WEBP")
    modes: list[PixelMode] = ["luma"] if grey else ["rgb"]
    try:
        index = index_images(folder, None)
        palette = index.palette
        for mode in modes:
            for frames in SUBSETS:
                for number, own in decode(folder, index, np.array(frames), mode):
                    off = np.abs(own.astype(int) - _expected(paths[number], mode))
                    if off.mean() > MEAN_OFF or (lossless and off.max() > palette * GREY_OFF):
                        return f"{mode} of image {number} is off by {off.max()}"
    except InputError as error:
        return str(error).replace(str(folder), "FOLDER")
    return EQUAL


def _expected(path: Path, mode: PixelMode) -> Any:
    with Image.open(path) as image:
        if mode == "luma":
            image = image if image.mode == "I;16" else image.convert("L")
        else:
            image = image.convert("RGB")
        return np.asarray(image).astype(int)
