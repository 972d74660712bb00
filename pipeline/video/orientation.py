"""Rotate and mirror a stored picture as players show it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

# Offset of the matrix in these boxes of an MP4, by the version of the box.
MATRIX_OF_MOVIE = {0: 36, 1: 48}
MATRIX_OF_TRACK = {0: 40, 1: 52}
NUMBER_OF_TRACK = {0: 12, 1: 20}
WHOLE_TURN = 360


def quarter_turns(rotation: float) -> int | None:
    """Return the number of counterclockwise quarter turns; None if the angle is not a multiple.

    Parameters
    ----------
    rotation : float
        Degrees counterclockwise.

    Examples
    --------
    >>> [quarter_turns(degrees) for degrees in (0, -90, 180, 45)]
    [0, 3, 2, None]
    """
    if abs(rotation) > WHOLE_TURN:  # a matrix without a direction; players ignore it
        return 0
    turns = round(rotation / 90)
    return turns % 4 if abs(rotation - 90 * turns) <= 1 else None


def upright(pixels: NDArray[Any], turns: int, *, mirrored: bool) -> NDArray[Any]:
    """Return a picture as it is shown: flipped vertically, then rotated counterclockwise.

    Parameters
    ----------
    pixels : ndarray, shape (height, width) or (height, width, channels)
    turns : int
        Quarter turns.
    mirrored : bool
    """
    return np.ascontiguousarray(np.rot90(pixels[::-1] if mirrored else pixels, turns))


def is_mirrored(frame: Any) -> bool | None:
    """Tell whether the display matrix of a decoded frame mirrors it; None if PyAV hides it."""
    from av.sidedata.sidedata import Type

    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # PyAV does not know the type of another entry, such as EXIF
        return None
    return matrix is not None and _mirrors(bytes(matrix))


def mirrored_track(path: Path, number: int) -> bool:
    """Tell whether the header of an MP4 or MOV mirrors a track; False without a header."""
    with path.open("rb") as stream, suppress(struct.error, KeyError):
        for kind, begin, end in _boxes(stream, 0, path.stat().st_size):
            if kind == b"moov":
                return _is_mirrored_in(stream, begin, end, number)
    return False


def _is_mirrored_in(stream: BinaryIO, begin: int, end: int, number: int) -> bool:
    movie = track = False
    for kind, first, last in _boxes(stream, begin, end):
        if kind == b"mvhd":
            head = _read(stream, first, last)
            movie = _mirrors(head[MATRIX_OF_MOVIE[head[0]] :], ">")
        elif kind == b"trak":
            heads = [
                _read(stream, *bounds)
                for inner, *bounds in _boxes(stream, first, last)
                if inner == b"tkhd"
            ]
            for head in heads:
                if struct.unpack_from(">I", head, NUMBER_OF_TRACK[head[0]])[0] == number:
                    track = _mirrors(head[MATRIX_OF_TRACK[head[0]] :], ">")
    return movie != track


def _mirrors(matrix: bytes, order: str = "=") -> bool:
    """Tell whether a matrix has a negative determinant."""
    across, down, _, left, right = struct.unpack_from(f"{order}5i", matrix)
    return bool(across * right - down * left < 0)


def _boxes(stream: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, and the begin and end of the content, of every box."""
    while begin + 8 <= end:
        stream.seek(begin)
        length, kind = struct.unpack(">I4s", stream.read(8))
        head = 8
        if length == 1:
            head, length = 16, struct.unpack(">Q", stream.read(8))[0]
        length = length or end - begin
        if length < head:
            return
        yield kind, begin + head, min(end, begin + length)
        begin += length


def _read(stream: BinaryIO, begin: int, end: int) -> bytes:
    stream.seek(begin)
    return stream.read(end - begin)
