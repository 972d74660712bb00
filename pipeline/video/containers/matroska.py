"""Matroska: a segment of elements, each with its length, https://www.rfc-editor.org/rfc/rfc8794."""

from __future__ import annotations

from mmap import mmap
from typing import BinaryIO

from pipeline.video.containers.mapped import mapped

SEGMENT = b"\x18\x53\x80\x67"
# The parts of a segment have names of four bytes, but for a checksum and for what is void.
SHORT = (0xBF, 0xEC)


def matroska_damage(file: BinaryIO) -> str:
    """Return where the parts of a segment are out of step; empty if nowhere."""
    with mapped(file) as content:
        place = content.find(SEGMENT, 0, 4096)
        if place < 0:
            return ""
        place, length = _header(content, place)
        end = len(content) if length is None else min(len(content), place + length)
        while place < end:
            if not (0x10 <= content[place] < 0x20 or content[place] in SHORT):
                return f"byte {place} begins no element"
            start, length = _header(content, place)
            if length is None:  # written live: its parts are not told apart without reading all
                return ""
            place = start + length
    return ""


def _header(content: mmap, place: int) -> tuple[int, int | None]:
    """Return where an element's content begins, and its length, None where it is not stated."""
    name = 9 - content[place].bit_length()  # leading zeros count the further bytes
    start = place + name
    if start >= len(content):
        return start, 0
    first = content[start]
    width = 9 - first.bit_length()
    number = int.from_bytes(content[start : start + width], "big") - (1 << 7 * width)
    unknown = (1 << 7 * width) - 1
    return start + width, None if number == unknown else max(0, number)
