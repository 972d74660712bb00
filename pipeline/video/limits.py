"""How large a picture may be, for a small file can state a size that fills the memory."""

from __future__ import annotations

from pathlib import Path

from featstore.errors import InputError

# 16,384 x 8,192: a panorama of 16K. Pillow warns from 89 million pixels on and refuses 179 million.
MAX_PIXELS = 2**27


def check_size(path: Path, width: int, height: int, most: int) -> None:
    """Refuse pictures of more than `most` pixels.

    Raises
    ------
    InputError
    """
    if width * height > most:
        raise InputError(
            f"{path} is {width} x {height}, {width * height} pixels, and at most {most} are read; "
            f"give --max-pixels {width * height} if that is its size."
        )


def most_pixels(width: int, height: int) -> int:
    """Return how many pixels any later picture of a video may have whose first one was accepted."""
    return max(MAX_PIXELS, width * height)
