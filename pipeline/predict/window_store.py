"""The features of some windows, read like the clips of a store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore import Store
from featstore.format.layout import Layout

Rows = NDArray[np.float32]


class WindowStore(Store):
    """The features of some windows, read like the clips of a store.

    Parameters
    ----------
    clips : sequence of float32 arrays (steps, dim)
        At least one.
    classes : tuple of str
    dims : tuple of int
        The lengths of the feature vectors that are side by side.
    places : tuple of int
        Of how many vectors each is made.
    """

    def __init__(
        self,
        clips: Sequence[Rows],
        classes: tuple[str, ...],
        dims: tuple[int, ...],
        places: tuple[int, ...],
    ) -> None:
        self.path, self.key, self.title = "the windows", "", ""
        self.classes = classes
        self.labels = np.full(len(clips), -1, np.int64)
        self.clip_ids = np.arange(len(clips)).astype(np.str_)
        self.row_size = np.array([len(clip) for clip in clips], np.int64)
        self.status = np.zeros(len(clips), np.int8)
        self.dim = clips[0].shape[1]
        self.layout = Layout(self.row_size, self.dim, 1)
        self._dims, self._places = dims, places
        self.attributes = {"places": places[0] if len(places) == 1 else 1}
        self.__dict__["rows"] = _ArrayRows(np.concatenate(clips))

    @property
    def stores(self) -> tuple[Store, ...]:
        """The stores that are side by side."""
        if len(self._dims) == 1:
            return (self,)
        each = zip(self._dims, self._places, strict=True)
        return tuple(
            WindowStore([np.zeros((0, dim), np.float32)], self.classes, (dim,), (places,))
            for dim, places in each
        )


class _ArrayRows:
    """Rows of a store that are an array in memory."""

    def __init__(self, array: Rows) -> None:
        self._array = array
        self.take: Any = partial(np.take, array, axis=0)

    def span(self, start: int, stop: int) -> Rows:
        return self._array[start:stop]

    def windows(self, firsts: NDArray[np.int64], width: int) -> Rows:
        rows: Rows = self._array[firsts[:, None] + np.arange(width)]
        return rows
