"""Ogg: pages with a sequence number and a checksum, https://www.rfc-editor.org/rfc/rfc3533."""

from __future__ import annotations

from typing import BinaryIO

from pipeline.video.containers.crc import crc
from pipeline.video.containers.mapped import mapped

MAGIC = b"OggS"
HEADER = 27  # bytes; the last one counts the lengths in the table that follows
FIRST, LAST = 2, 4  # flags
# The first bytes of streams that hold no video.
NO_VIDEO = (
    b"\x01vorbis",
    b"OpusHead",
    b"Speex   ",
    b"\x7fFLAC",
    b"fishead\0",
    b"CMML",
    b"\x80kate",
)


def ogg_damage(file: BinaryIO) -> str:
    """Return the damage in the pages of a file's videos; empty if there is none."""
    due: dict[int, int] = {}  # next sequence number, by stream
    ignored: set[int] = set()
    offset, ended, lost = 0, True, 0
    with mapped(file) as content:
        while (start := content.find(MAGIC, offset)) >= 0:
            lost += start - offset
            length = _page_length(content[start : start + HEADER + 255])
            page = content[start : start + length]
            if len(page) < length or checksum(page) != int.from_bytes(page[22:26], "little"):
                lost += len(MAGIC)
                offset = start + len(MAGIC)
                continue
            offset = start + length
            flags, serial = page[5], int.from_bytes(page[14:18], "little")
            number = int.from_bytes(page[18:22], "little")
            if flags & FIRST:
                due[serial] = number
                if page[HEADER + page[26] :].startswith(NO_VIDEO):
                    ignored.add(serial)
            if serial in ignored:
                continue
            if number != due.get(serial):
                return f"pages are missing or repeated before byte {start}"
            due[serial], ended, lost = (number + 1) % 2**32, bool(flags & LAST), 0
        lost += len(content) - offset
    return "its last page is missing" if lost and not ended else ""


def checksum(page: bytes) -> int:
    """Return the CRC of a page, with zeros in its checksum field."""
    return crc(page[:22] + bytes(4) + page[26:])


def _page_length(head: bytes) -> int:
    """Return the length of a page: at least that of its header."""
    lengths = head[HEADER : HEADER + head[26]] if len(head) >= HEADER else b""
    return HEADER + len(lengths) + sum(lengths)
