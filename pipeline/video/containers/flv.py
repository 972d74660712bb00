"""FLV: one tag after the other, each with its length."""

from __future__ import annotations

from typing import BinaryIO

from pipeline.video.containers.mapped import mapped

TAGS = (8, 9, 18)  # sound, video, data
TAG, BEHIND = 11, 4  # bytes of a tag's header, and behind it


def flv_damage(file: BinaryIO) -> str:
    """Return where a file's tags are out of step; empty if nowhere."""
    with mapped(file) as content:
        place = int.from_bytes(content[5:9], "big") + BEHIND
        while place + TAG <= len(content):
            head = content[place : place + TAG]
            if head[0] & 0x1F not in TAGS or any(head[8:]):
                return "" if _padding(content[place:]) else f"byte {place} begins no tag"
            place += TAG + int.from_bytes(head[1:4], "big") + BEHIND
    return ""


def _padding(rest: bytes) -> bool:
    return not any(rest)
