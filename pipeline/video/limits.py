"""Limit the size of pictures: a small file can state a size that fills the memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from featstore.errors import InputError

# 16,384 x 8,192, a 16K panorama. Pillow warns above 89 million pixels and refuses 179 million.
MAX_PIXELS = 2**27
# Most memory for decoding and preparing a picture, per pixel. 8-bit RGB on a CPU takes 24: as
# decoded, as RGB, as float32, and a sixth more for the weights of a first resize.
BYTES_A_PIXEL = 40
SHARE_OF_MEMORY = 4
# Memory limits of the container's cgroup, version 2 and version 1.
CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_size(path: Path, width: int, height: int, most: int) -> None:
    """Refuse pictures of more than `most` pixels.

    Raises
    ------
    InputError
    """
    if width * height > most:
        raise InputError(
            f"{path} is {width} x {height}, {width * height} pixels; the limit is {most}. If the "
            f"size is right, pass --max-pixels {width * height}."
        )


def most_pixels(width: int, height: int) -> int:
    """Return the most pixels of a later picture, once the first one of this size was accepted."""
    return max(MAX_PIXELS, width * height)


def decoders_at_once(workers: int, pixels: int, memory: int | None = None) -> int:
    """Return how many threads may decode so that their pictures take at most 1/4 of the memory.

    Parameters
    ----------
    workers : int
        The most threads.
    pixels : int
        Of the largest picture.
    memory : int, optional
        Bytes; by default, those of this machine or of its container.

    Examples
    --------
    >>> [decoders_at_once(16, pixels, 64 * 2**30) for pixels in (2_000_000, 2**27)]
    [16, 3]
    """
    memory = _memory() if memory is None else memory
    if memory is None:
        return workers
    return max(1, min(workers, memory // SHARE_OF_MEMORY // max(1, pixels * BYTES_A_PIXEL)))


def _memory(limits: Sequence[Path] = CGROUP_LIMITS) -> int | None:
    """Return the bytes available to this process; None if the system does not tell."""
    memory: list[int] = []
    with suppress(AttributeError, ValueError, OSError):  # another system
        memory.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in limits:
        with suppress(OSError, ValueError):  # no such group, or "max"
            memory.append(int(path.read_text()))
    return min(memory, default=None)
