"""Read features of other tools from ``.npy`` files: map, inspect, and read in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError

BLOCK_BYTES: Final = 8 * 2**20
FLOATS: Final = ("float16", "float32", "float64")


def open_npy(path: Path) -> NDArray[Any]:
    """Return a memory-mapped ``.npy`` array; never unpickle anything.

    Raises
    ------
    InputError
        If the file is missing or truncated, or holds Python objects.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path.") from None
    except (ValueError, EOFError) as error:
        reason = str(error)
        if "object" in reason:
            raise InputError(
                f"{path} holds pickled Python objects, which could run code; save each clip as a "
                "separate array of floats: np.save(name, array)."
            ) from None
        raise InputError(
            f"{path} cannot be read as .npy ({reason}); save it again with np.save."
        ) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{path} is an archive (.npz); save its arrays one by one with np.save.")
    return array


class ClipArray(ABC):
    """The location of one clip's features.

    Attributes
    ----------
    path : Path
        The file, or the folder with one file per step.
    steps, dim : int
    dtype : {"float16", "float32", "float64"}
    """

    path: Path
    dim: int
    dtype: str

    @property
    @abstractmethod
    def steps(self) -> int:
        """Number of steps."""

    @abstractmethod
    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[NDArray[Any]]:
        """Yield the rows from `first` to `last` in blocks of a few MiB, in the stored dtype.

        Raises
        ------
        InputError
            If a file was changed since it was inspected.
        """

    @abstractmethod
    def origin(self, step: int) -> tuple[str, int]:
        """Return the file of a step, for messages, and the number of the step in it."""

    def read(self, first: int, last: int) -> NDArray[np.float32]:
        """Return rows as float32, shape (last - first, dim)."""
        rows = np.empty((last - first, self.dim), np.float32)
        done = 0
        for block in self.blocks(first, last):
            rows[done : done + len(block)] = block
            done += len(block)
        return rows


@dataclass(frozen=True)
class FileArray(ClipArray):
    """A clip in one file, alone or with others.

    Attributes
    ----------
    index : int or None
        Position in an array of all clips; None if the file holds no such array.
    start, stop : int
        The rows of the clip in the file, or in the array at `index`.
    transposed : bool
        Whether the file is (dim, steps).
    stamp : tuple of int
        Size and modification time of the file when it was inspected.
    """

    path: Path
    index: int | None
    start: int
    stop: int
    dim: int
    dtype: str
    stamp: tuple[int, int]
    transposed: bool = False

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.stop - self.start

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[NDArray[Any]]:
        """Yield the rows from `first` to `last`; see `ClipArray.blocks`."""
        rows = _unchanged(self.path, self.stamp)
        rows = rows if self.index is None else rows[self.index]
        rows = rows.reshape(1, -1) if rows.ndim == 1 else rows
        rows = (rows.T if self.transposed else rows)[self.start : self.stop]
        end = self.steps if last is None else last
        size = max(1, BLOCK_BYTES // (8 * self.dim))
        for start in range(first, end, size):
            yield rows[start : min(start + size, end)]

    def origin(self, step: int) -> tuple[str, int]:
        """Return the file of a step and its number there."""
        name = str(self.path) if self.index is None else f"clip {self.index} of {self.path}"
        return name, self.start + step


@dataclass(frozen=True)
class StepFiles(ClipArray):
    """A clip in a folder with one file per step.

    Attributes
    ----------
    files : tuple of Path
        In the order of the steps.
    stamps : tuple of tuple of int
        Size and modification time of every file when it was inspected.
    """

    path: Path
    files: tuple[Path, ...]
    dim: int
    dtype: str
    stamps: tuple[tuple[int, int], ...]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.files)

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[NDArray[Any]]:
        """Yield the rows from `first` to `last`; see `ClipArray.blocks`."""
        end = self.steps if last is None else last
        size = max(1, BLOCK_BYTES // (8 * self.dim))
        for start in range(first, end, size):
            steps = range(start, min(start + size, end))
            files = [_unchanged(self.files[step], self.stamps[step]) for step in steps]
            yield np.stack([array.reshape(-1) for array in files])

    def origin(self, step: int) -> tuple[str, int]:
        """Return the file of a step and its number there."""
        return str(self.files[step]), 0


def _unchanged(path: Path, stamp: tuple[int, int]) -> NDArray[Any]:
    array = open_npy(path)
    if stamp_of(path) != stamp:
        raise InputError(f"{path} was changed while it was read; import again.")
    return array


def stamp_of(path: Path) -> tuple[int, int]:
    """Return the size and modification time of a file, which reveal a change."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def one_clip(path: Path) -> FileArray:
    """Inspect a file that holds one clip: (steps, dim), or (dim,) for a single step.

    Raises
    ------
    InputError
        If it is not such an array of floats.
    """
    array = open_npy(path)
    _check_floats(path, array)
    if array.size == 0:
        raise InputError(
            f"{path} has no steps (shape {array.shape}); remove the clip, or extract it with a "
            "shorter window."
        )
    if array.ndim not in (1, 2):
        raise InputError(
            f"{path} has shape {array.shape}; a clip is (steps, dim), or (dim,) for one step. "
            "Pool or reshape it."
        )
    steps = len(array) if array.ndim == 2 else 1
    return FileArray(path, None, 0, steps, array.shape[-1], array.dtype.name, stamp_of(path))


def step_files(folder: Path, files: Sequence[Path]) -> StepFiles:
    """Inspect files that hold one step each: (dim,), or (1, dim).

    Parameters
    ----------
    folder : Path
    files : sequence of Path
        At least one, in the order of the steps.

    Raises
    ------
    InputError
        If one is not such an array of floats, or they differ in shape or dtype.
    """
    stamps, first = [], open_npy(files[0])
    for path in files:
        array = open_npy(path)
        _check_floats(path, array)
        if array.size == 0 or array.size not in array.shape:
            raise InputError(
                f"{path} has shape {array.shape}; a step is (dim,). Reshape it, or save each clip "
                "as one file of shape (steps, dim)."
            )
        if (array.size, array.dtype) != (first.size, first.dtype):
            raise InputError(
                f"{path} holds {array.size} values of {array.dtype}, but {files[0].name} holds "
                f"{first.size} of {first.dtype}; save every step alike."
            )
        stamps.append(stamp_of(path))
    return StepFiles(folder, tuple(files), first.size, first.dtype.name, tuple(stamps))


def many_clips(path: Path) -> list[FileArray]:
    """Inspect a file that holds all clips: (clips, steps, dim), or (clips, dim).

    Raises
    ------
    InputError
        If it is not such an array of floats.
    """
    array = open_npy(path)
    _check_floats(path, array)
    if array.ndim not in (2, 3) or array.size == 0:
        raise InputError(
            f"{path} has shape {array.shape}; an array of all clips is (clips, steps, dim), or "
            "(clips, dim) for one step per clip. Reshape it, or pass a folder with one .npy per "
            "clip."
        )
    steps = array.shape[1] if array.ndim == 3 else 1
    name, stamp = array.dtype.name, stamp_of(path)
    return [FileArray(path, i, 0, steps, array.shape[-1], name, stamp) for i in range(len(array))]


def _check_floats(path: Path, array: NDArray[Any]) -> None:
    if array.dtype.name not in FLOATS:
        raise InputError(
            f"{path} holds {array.dtype}; features must be {', '.join(FLOATS)}. Convert it: "
            "np.save(name, array.astype(np.float32))."
        )
