"""Tell whether a video that is stored in colour looks grey."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.video.decode import decode
from pipeline.video.errors import DecodeError
from pipeline.video.index import VideoIndex

# The frames that are inspected.
LOOKED_AT = (0, 6, 14, 28, 49)
FLAT = 8  # largest difference between the values of a flat picture


def looks_grey(path: Path, index: VideoIndex) -> bool:
    """Tell whether the chroma of the first frames is neutral, as in infrared stored as colour.

    Flat pictures, such as the black ones at the beginning of many videos, are ignored.
    """
    if index.pixel_format.startswith("gray"):
        return True
    neutral = False
    frames = np.array([number for number in LOOKED_AT if number < len(index)])
    with suppress(DecodeError):  # only a hint, and maybe no clip needs these frames
        for _, rgb in decode(path, index, frames, "rgb"):
            red, green, blue = (rgb[..., channel] for channel in range(3))
            most = np.maximum(np.maximum(red, green), blue)
            most -= np.minimum(np.minimum(red, green), blue)
            if most.max() > 4:
                return False
            neutral = neutral or int(np.ptp(rgb)) > FLAT
    return neutral
