"""Parse the split number in the title of a store."""

from __future__ import annotations

import re

OF_SPLIT = re.compile(r"\b(split|fold) (\d+)")


def without_number(title: str) -> str:
    """Return a title without its split number.

    Examples
    --------
    >>> without_number("driveact kinect_ir midlevel split 0")
    'driveact kinect_ir midlevel split'
    """
    return OF_SPLIT.sub(r"\1", title, count=1)
