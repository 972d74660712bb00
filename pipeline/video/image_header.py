"""Read the header of an image file without decoding pixels."""

from __future__ import annotations

import os
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
ORIENTATION = 0x0112
MIRRORED = (2, 4, 5, 7)
RIFF_BYTES = 12
_warnings = Lock()


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The size and orientation in an image file's header.

    Attributes
    ----------
    width, height : int
        As stored.
    mirrored : bool
        Whether its EXIF orientation mirrors the picture.
    """

    width: int
    height: int
    mirrored: bool


def read_header(path: Path) -> ImageHeader | None:
    """Return the header of an image file; None if Pillow cannot read it.

    Pillow's pixel limit is global to the process, so this does not use `Image.open`.
    """
    from PIL import Image

    Image.init()
    with path.open("rb") as stream, _warnings, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damage, which the decoder refuses
        start = stream.read(16)
        for name in FORMATS:
            make, accepts = Image.OPEN[name]
            if accepts is None or accepts(start) is not True:
                continue
            stream.seek(0)
            try:
                image = make(stream, str(path))
                return ImageHeader(*image.size, _orientation(image) in MIRRORED)
            except (
                SyntaxError,
                IndexError,
                TypeError,
                ValueError,
                KeyError,
                struct.error,
                OSError,
            ):
                return None
    return None


def is_animated_webp(path: Path) -> bool:
    """Tell whether a WebP file holds several frames."""
    frames = 0
    with path.open("rb") as stream:
        if stream.read(RIFF_BYTES)[8:] != b"WEBP":
            return False
        while frames < 2 and len(head := stream.read(8)) == 8:
            kind, length = struct.unpack("<4sI", head)
            if kind in (b"VP8 ", b"VP8L"):  # a still picture
                return False
            frames += kind == b"ANMF"
            stream.seek(length + length % 2, os.SEEK_CUR)
    return frames > 1


def _orientation(image: Any) -> Any:
    from PIL import Image

    if image.format == "TIFF":
        return image.tag_v2.get(ORIENTATION)
    exif = Image.Exif()
    exif.load(image.info.get("exif") or b"")  # not `getexif`, which may decode the picture
    return exif.get(ORIENTATION)
