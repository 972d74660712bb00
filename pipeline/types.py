"""Types that many modules share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from featstore.types import Clips as Clips
from featstore.types import Floats as Floats
from featstore.types import Ints as Ints
from featstore.types import Log as Log

Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
Tick = Callable[[int, int], None]
"""Called with how many more inputs were computed, and how many more frames were decoded."""
