"""FLV: consecutive tags, each with its length."""

from __future__ import annotations

from typing import BinaryIO

from pipeline.video.containers.mapped import mapped

TAGS = (8, 9, 18)  # sound, video, data
TAG, TRAILER = 11, 4  # bytes of a tag's header, and after its content


def flv_damage(file: BinaryIO) -> str:
    """Return the first byte where a tag is invalid, as a message; empty if all tags are valid."""
    with mapped(file) as content:
        offset = int.from_bytes(content[5:9], "big") + TRAILER
        while offset + TAG <= len(content):
            head = content[offset : offset + TAG]
            if head[0] & 0x1F not in TAGS or any(head[8:]):
                return "" if _padding(content[offset:]) else f"no tag begins at byte {offset}"
            offset += TAG + int.from_bytes(head[1:4], "big") + TRAILER
    return ""


def _padding(rest: bytes) -> bool:
    return not any(rest)
