"""Whether a video that is stored in colour has any."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.video.decode import decode
from pipeline.video.errors import DecodeError
from pipeline.video.index import VideoIndex

# Whether a video looks grey is judged by these frames.
LOOKED_AT = (0, 6, 14, 28, 49)
FLAT = 8  # the most by which values of a flat picture differ


def looks_grey(path: Path, index: VideoIndex) -> bool:
    """Tell whether the chroma of the first frames is neutral, as in infrared stored as colour.

    Flat pictures, such as the black ones that many videos begin with, tell nothing.
    """
    if index.pixel_format.startswith("gray"):
        return True
    neutral = False
    frames = np.array([number for number in LOOKED_AT if number < len(index)])
    with suppress(DecodeError):  # no clip may need these frames, and this is but a hint
        for _, rgb in decode(path, index, frames, "rgb"):
            red, green, blue = (rgb[..., channel] for channel in range(3))
            most = np.maximum(np.maximum(red, green), blue)
            most -= np.minimum(np.minimum(red, green), blue)
            if most.max() > 4:
                return False
            neutral = neutral or int(np.ptp(rgb)) > FLAT
    return neutral
