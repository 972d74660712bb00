"""The checksum of Ogg and NUT."""

from __future__ import annotations

import zlib

MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc(content: bytes) -> int:
    """Return the CRC of bytes: of mirrored bits, as zlib has it, but neither end inverted."""
    value = zlib.crc32(content.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)
