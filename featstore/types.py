"""Types that many modules share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Log = Callable[[str], None]
"""Called with one line of a command's output."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Clips = NDArray[np.int64]
"""Positions of clips in a store."""
