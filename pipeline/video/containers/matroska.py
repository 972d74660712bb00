"""Matroska: a segment of elements, each with its length, https://www.rfc-editor.org/rfc/rfc8794."""

from __future__ import annotations

from mmap import mmap
from typing import BinaryIO

from pipeline.video.containers.mapped import mapped

SEGMENT = b"\x18\x53\x80\x67"
# The parts of a segment have names of four bytes, but for a checksum and for what is void.
SHORT = (0xBF, 0xEC)


def matroska_damage(file: BinaryIO) -> str:
    """Return the first invalid element of a segment, as a message; empty if all are valid."""
    with mapped(file) as content:
        offset = content.find(SEGMENT, 0, 4096)
        if offset < 0:
            return ""
        offset, length = _header(content, offset)
        end = len(content) if length is None else min(len(content), offset + length)
        while offset < end:
            if not (0x10 <= content[offset] < 0x20 or content[offset] in SHORT):
                return f"no element begins at byte {offset}"
            start, length = _header(content, offset)
            if length is None:  # a live recording: finding its elements means reading all data
                return ""
            offset = start + length
    return ""


def _header(content: mmap, offset: int) -> tuple[int, int | None]:
    """Return the start of an element's content and its length, None if it is not stated."""
    name = 9 - content[offset].bit_length()  # the leading zeros count the bytes that follow
    start = offset + name
    if start >= len(content):
        return start, 0
    first = content[start]
    width = 9 - first.bit_length()
    number = int.from_bytes(content[start : start + width], "big") - (1 << 7 * width)
    unknown = (1 << 7 * width) - 1
    return start + width, None if number == unknown else max(0, number)
