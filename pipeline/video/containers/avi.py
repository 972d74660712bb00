"""AVI: lists of chunks, each with a name and a length."""

from __future__ import annotations

import re
from mmap import mmap
from typing import BinaryIO

from pipeline.video.containers.mapped import mapped

LISTS = (b"RIFF", b"LIST")
HEAD, LIST_HEAD = 8, 12  # bytes
# Chunks of a numbered stream, their index, or what may lie between them.
NAMES = re.compile(rb"\d\d(?:dc|db|wb|tx|pc|iv|__)|ix\d\d|JUNK|junk|idx1|indx|LIST|RIFF", re.DOTALL)
VIDEO = (b"dc", b"db", b"iv", b"__")


def avi_damage(file: BinaryIO, stream: int, packets: int) -> str:
    """Return the damage in the chunks of one stream; empty if there is none.

    Parameters
    ----------
    file : binary file
    stream : int
    packets : int
        Number of its non-empty packets that FFmpeg read.
    """
    names = [b"%02d" % stream + suffix for suffix in VIDEO]
    with mapped(file) as content:
        movies = [(start, end) for name, start, end in _lists(content) if name == b"movi"]
        count = 0
        for offset, end in movies:
            while offset + HEAD <= end:
                name, length = content[offset : offset + 4], _length(content, offset)
                if not NAMES.match(name):
                    return (
                        "" if not any(content[offset:end]) else f"no chunk begins at byte {offset}"
                    )
                count += name in names and length > 0
                inside = LIST_HEAD if name in LISTS else HEAD + length
                offset = _next(content, offset + inside, end)
    if not movies:
        return "its list of frames cannot be found"
    if count != packets:
        return f"it holds {count} frames, but only {packets} can be read"
    return ""


def _lists(content: mmap) -> list[tuple[bytes, int, int]]:
    """Return the name, start and end of each list of a file."""
    lists, offset = [], 0
    while offset + LIST_HEAD <= len(content):
        if content[offset : offset + 4] == b"RIFF":
            offset += LIST_HEAD
            continue
        length = _length(content, offset)
        end = min(len(content), offset + HEAD + length)
        if content[offset : offset + 4] == b"LIST":
            name = content[offset + HEAD : offset + LIST_HEAD]
            if name == b"movi" and length <= 4:  # never finished
                end = len(content)
            lists.append((name, offset + LIST_HEAD, end))
        offset = end + end % 2
    return lists


def _next(content: mmap, offset: int, end: int) -> int:
    """Return the offset of the next chunk: even, but some writers do not pad."""
    padded = offset + offset % 2
    if padded != offset and padded + 4 <= end and not NAMES.match(content[padded : padded + 4]):
        return offset if NAMES.match(content[offset : offset + 4]) else padded
    return padded


def _length(content: mmap, offset: int) -> int:
    return int.from_bytes(content[offset + 4 : offset + 8], "little")
