"""AVI: lists of chunks, each with a name and a length."""

from __future__ import annotations

import re
from mmap import mmap
from typing import BinaryIO

from pipeline.video.containers.mapped import mapped

LISTS = (b"RIFF", b"LIST")
HEAD, LIST_HEAD = 8, 12  # bytes
# Of a stream by its number, an index of one, or what lies between.
NAMES = re.compile(rb"\d\d(?:dc|db|wb|tx|pc|iv|__)|ix\d\d|JUNK|junk|idx1|indx|LIST|RIFF", re.DOTALL)
VIDEO = (b"dc", b"db", b"iv", b"__")


def avi_damage(file: BinaryIO, stream: int, packets: int) -> str:
    """Return what is wrong with the chunks of one stream; empty if nothing is.

    Parameters
    ----------
    file : binary file
    stream : int
    packets : int
        How many of it FFmpeg found that are not empty.
    """
    names = [b"%02d" % stream + suffix for suffix in VIDEO]
    with mapped(file) as content:
        movies = [(start, end) for name, start, end in _lists(content) if name == b"movi"]
        count = 0
        for place, end in movies:
            while place + HEAD <= end:
                name, length = content[place : place + 4], _length(content, place)
                if not NAMES.match(name):
                    return "" if not any(content[place:end]) else f"byte {place} begins no chunk"
                count += name in names and length > 0
                inside = LIST_HEAD if name in LISTS else HEAD + length
                place = _next(content, place + inside, end)
    if not movies:
        return "its list of frames cannot be found"
    if count != packets:
        return f"it holds {count} frames, of which {packets} can be read"
    return ""


def _lists(content: mmap) -> list[tuple[bytes, int, int]]:
    """Return name, start and end of the lists of a file."""
    found, place = [], 0
    while place + LIST_HEAD <= len(content):
        if content[place : place + 4] == b"RIFF":
            place += LIST_HEAD
            continue
        length = _length(content, place)
        end = min(len(content), place + HEAD + length)
        if content[place : place + 4] == b"LIST":
            name = content[place + HEAD : place + LIST_HEAD]
            if name == b"movi" and length <= 4:  # never finished
                end = len(content)
            found.append((name, place + LIST_HEAD, end))
        place = end + end % 2
    return found


def _next(content: mmap, place: int, end: int) -> int:
    """Return where the next chunk begins: at an even place, but some writers do not pad."""
    padded = place + place % 2
    if padded != place and padded + 4 <= end and not NAMES.match(content[padded : padded + 4]):
        return place if NAMES.match(content[place : place + 4]) else padded
    return padded


def _length(content: mmap, place: int) -> int:
    return int.from_bytes(content[place + 4 : place + 8], "little")
