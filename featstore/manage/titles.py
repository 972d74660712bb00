"""What the title of a store says of the split that it is of."""

from __future__ import annotations

import re

OF_SPLIT = re.compile(r"\b(split|fold) (\d+)")


def without_number(title: str) -> str:
    """Return what the titles of the same data have in common, of whichever split.

    Examples
    --------
    >>> without_number("driveact kinect_ir midlevel split 0")
    'driveact kinect_ir midlevel split'
    """
    return OF_SPLIT.sub(r"\1", title, count=1)
