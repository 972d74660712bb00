"""Read the rows of a store: mapped if local and uncompressed, else decoded by chunk."""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from featstore.errors import CorruptStoreError
from featstore.format.container import Container, chunk_name
from featstore.format.layout import Layout
from featstore.format.maps import Piece, map_pieces
from featstore.format.seal import REMEDY, check

Features = NDArray[Any]  # float32, or float16 as stored

# Cache budget: one group of blocks plus the next, which is read ahead.
CACHE_BYTES = 576 * 2**20
READERS = 4


class Rows(Protocol):
    """Rows of features by number."""

    def span(self, start: int, stop: int) -> Features:
        """Return the rows from `start` to `stop`, read-only."""

    def take(self, index: NDArray[np.int64]) -> Features:
        """Return rows by number, shape ``(*index.shape, dim)``.

        Each row of `index` belongs to one clip and ascends.
        """

    def windows(self, firsts: NDArray[np.int64], width: int) -> Features:
        """Return `width` rows from each of `firsts`, shape (n, width, dim)."""


class MappedRows:
    """All rows as one array over the page cache.

    Parameters
    ----------
    container : Container
    layout : Layout
    pieces : list of Piece
        The chunks.
    checked : bool
        Compare each chunk with its checksum when one of its rows is first read.
    """

    def __init__(
        self, container: Container, layout: Layout, pieces: list[Piece], *, checked: bool = False
    ) -> None:
        try:
            content = map_pieces(pieces)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) == errno.ENOMEM:  # not an error of the store
                raise
            raise CorruptStoreError(
                f"{container.location}: a chunk cannot be read ({error}); {REMEDY}."
            ) from None
        dtype = np.dtype(container.codec.dtype).newbyteorder("<")
        self.array = content.view(dtype).reshape(-1, layout.dim)[: layout.steps]
        self._container, self._content, self._chunk_rows = container, content, layout.chunk_rows
        self._length = pieces[0].length if pieces else 0
        # None once all chunks are checked, so that reads are fast.
        self._unchecked = np.ones(len(pieces), bool) if checked else None

    def span(self, start: int, stop: int) -> Features:
        """Return a view of the rows from `start` to `stop`."""
        if self._unchecked is not None and start < stop:
            chunks = np.arange(start // self._chunk_rows, (stop - 1) // self._chunk_rows + 1)
            self._check(self._unchecked, chunks)
        return self.array[start:stop]

    def take(self, index: NDArray[np.int64]) -> Features:
        """Return a copy of rows."""
        if self._unchecked is not None:
            self._check(self._unchecked, np.unique(index // self._chunk_rows))
        return self.array.take(index, axis=0)

    def windows(self, firsts: NDArray[np.int64], width: int) -> Features:
        """Return a copy of runs of rows, copied run by run."""
        if not width:  # clips without rows; one may be after the last row
            return np.empty((len(firsts), 0, self.array.shape[1]), self.array.dtype)
        if self._unchecked is not None:
            first = firsts // self._chunk_rows
            last = (firsts + width - 1) // self._chunk_rows
            reach = np.arange(int((last - first).max(initial=0)) + 1)
            chunks = np.minimum(first[:, None] + reach, last[:, None])
            self._check(self._unchecked, np.unique(chunks))
        runs = sliding_window_view(self.array, width, axis=0)  # (steps, dim, width), no copy
        copied: Features = runs.transpose(0, 2, 1)[firsts]
        return copied

    def _check(self, unchecked: NDArray[np.bool_], chunks: NDArray[np.int64]) -> None:
        """Compare the unchecked ones of these chunks with their checksums."""
        missing = chunks[unchecked[chunks]].tolist()
        if not missing:
            return

        def check(number: int) -> None:
            part = self._content[number * self._length : (number + 1) * self._length]
            check_chunk(self._container, number, part.data)
            unchecked[number] = False

        if len(missing) == 1:
            check(missing[0])
        else:
            with ThreadPoolExecutor(READERS) as pool:
                list(pool.map(check, missing))
        if not unchecked.any():
            self._unchecked = None


class DecodedRows:
    """Rows of chunks that are read, checked, decoded and cached.

    Parameters
    ----------
    container : Container
    layout : Layout
    """

    def __init__(self, container: Container, layout: Layout) -> None:
        self._container, self._layout = container, layout
        self._shape = container.chunk_shape
        self._codec = container.codec
        rows, dim = self._shape
        self.chunk_bytes = rows * dim * self._codec.item_size
        self._most = max(2, CACHE_BYTES // self.chunk_bytes)
        self._chunks: OrderedDict[int, Features] = OrderedDict()
        self._locks = {os.getpid(): threading.Lock()}

    @property
    def _lock(self) -> threading.Lock:
        """The lock of this process; a forked child could inherit one that is never released."""
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def span(self, start: int, stop: int) -> Features:
        """Return the rows from `start` to `stop`: a view if they are in one chunk."""
        if start >= stop:
            return np.empty((0, self._shape[1]), self._codec.dtype)
        size = self._shape[0]
        parts = [
            self._chunk(number)[max(0, start - number * size) : stop - number * size]
            for number in range(start // size, -(-stop // size))
        ]
        if len(parts) == 1:
            return parts[0]
        rows = np.concatenate(parts)
        rows.flags.writeable = False
        return rows

    def take(self, index: NDArray[np.int64]) -> Features:
        """Return a copy of rows."""
        taken = np.empty((*index.shape, self._shape[1]), self._codec.dtype)
        for clip_rows, rows in zip(taken, index, strict=True):
            if len(rows):
                clip_rows[...] = self.span(int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]]
        return taken

    def windows(self, firsts: NDArray[np.int64], width: int) -> Features:
        """Return a copy of runs of rows."""
        return self.take(firsts[:, None] + np.arange(width))

    def read_ahead(
        self, numbers: Sequence[int], executor: Executor, *, keep: Sequence[int] = ()
    ) -> list[Any]:
        """Start to read chunks without evicting those of `keep`; optional before `span`."""
        with self._lock:
            for number in (*keep, *numbers):
                if number in self._chunks:
                    self._chunks.move_to_end(number)
            missing = [number for number in numbers if number not in self._chunks]
        return [executor.submit(self._chunk, number) for number in missing]

    def _chunk(self, number: int) -> Features:
        with self._lock:
            if number in self._chunks:
                self._chunks.move_to_end(number)
                return self._chunks[number]
        chunk = self._decode(number)
        with self._lock:
            self._chunks[number] = chunk
            while len(self._chunks) > self._most:
                self._chunks.popitem(last=False)
        return chunk

    def _decode(self, number: int) -> Features:
        content = self._container.chunk_bytes(number)
        check_chunk(self._container, number, memoryview(content))
        try:
            return self._codec.decode(content, self._shape)
        except ValueError as error:
            raise CorruptStoreError(
                f"{self._container.location}: chunk {number} of the features does not match the "
                f"store's metadata ({error}); {REMEDY}."
            ) from None


def check_chunk(container: Container, number: int, content: memoryview) -> None:
    """Compare the bytes of one chunk with the seal.

    Raises
    ------
    CorruptStoreError
    """
    expected = container.attributes["seal"]["files"].get(chunk_name(number))
    check(content, expected, f"{container.location}: chunk {number} of the features")


def rows_of(container: Container, layout: Layout, *, checked: bool) -> MappedRows | DecodedRows:
    """Return the fastest reader of a store's rows for its location and format.

    Chunks are compared with the seal if they are decoded or `checked` is true.
    """
    pieces = container.pieces()
    if not pieces:
        return DecodedRows(container, layout)
    try:
        return MappedRows(container, layout, pieces, checked=checked)
    except CorruptStoreError:
        if not checked:
            raise
        return DecodedRows(container, layout)  # it can still read the whole chunks
    except OSError:  # the system's limit on maps
        return DecodedRows(container, layout)
