"""Prepare TIFF files for FFmpeg's strict decoder, which stops at damage."""

from __future__ import annotations

import struct

from pipeline.video.errors import ImageError

# Tags that state the layout of pixels. FFmpeg's strict decoder reports other tags as damage.
PIXEL_TAGS = frozenset(
    (254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 530)
)
ORIENTATION, SAMPLE_FORMAT = 274, 339
# Values with which pixels are read correctly. Format 4 is "undefined"; readers assume unsigned.
PLAIN = {ORIENTATION: (1,), SAMPLE_FORMAT: (1, 4)}
WHAT_ELSE = {
    ORIENTATION: "is rotated by its orientation tag; store it upright",
    SAMPLE_FORMAT: "holds signed or floating-point numbers; convert them to unsigned 8 or 16 bits",
}
SHORT = 3
KIND_OF_PAGE = 254
NO_PAGE = 1 | 4  # a smaller copy, such as a thumbnail; a mask
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
ENTRY_BYTES = 12


def pixel_tags_only(data: bytes) -> bytes:
    """Return a TIFF file with only the pixel tags of its first picture.

    Return other files unchanged.

    Raises
    ------
    ImageError
        If its values are signed or floating-point numbers, or it is not stored upright.
    """
    order = ORDERS.get(data[:4])
    if order is None:
        return data
    try:
        begin = struct.unpack_from(f"{order}I", data, 4)[0]
        count = struct.unpack_from(f"{order}H", data, begin)[0]
        end = begin + 2 + count * ENTRY_BYTES
        if end + 4 > len(data):
            return data
    except struct.error:  # truncated: the decoder reports it
        return data
    entries = [data[at : at + ENTRY_BYTES] for at in range(begin + 2, end, ENTRY_BYTES)]
    for entry in entries:
        _check_plain(entry, data, order)
    kept = [entry for entry in entries if struct.unpack(f"{order}H", entry[:2])[0] in PIXEL_TAGS]
    table = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + data[end : end + 4]
    return data[:begin] + table.ljust(end + 4 - begin, b"\0") + data[end + 4 :]


def is_followed(data: bytes) -> bool:
    """Tell whether a TIFF file holds a second page, other than a smaller copy or a mask."""
    order = ORDERS.get(data[:4])
    if order is None:
        return False
    try:
        begin = struct.unpack_from(f"{order}I", data, 4)[0]
        seen = {0}
        while (begin := _next_page(data, order, begin)) not in seen:
            seen.add(begin)
            if not _kind_of_page(data, order, begin) & NO_PAGE:
                return True
    except struct.error:  # truncated: the decoder reports it
        return False
    return False


def _next_page(data: bytes, order: str, begin: int) -> int:
    count = struct.unpack_from(f"{order}H", data, begin)[0]
    return int(struct.unpack_from(f"{order}I", data, begin + 2 + count * ENTRY_BYTES)[0])


def _kind_of_page(data: bytes, order: str, begin: int) -> int:
    count = struct.unpack_from(f"{order}H", data, begin)[0]
    for at in range(begin + 2, begin + 2 + count * ENTRY_BYTES, ENTRY_BYTES):
        tag, _, _, flags = struct.unpack_from(f"{order}HHII", data, at)
        if tag == KIND_OF_PAGE:
            return int(flags)
    return 0


def _check_plain(entry: bytes, data: bytes, order: str) -> None:
    tag, kind, count, offset = struct.unpack(f"{order}HHII", entry)
    if tag not in PLAIN or kind != SHORT:
        return
    values = entry[8:12] if count <= 2 else data[offset : offset + 2 * count]
    numbers = struct.unpack(f"{order}{len(values) // 2}H", values)[:count]
    if any(number not in PLAIN[tag] for number in numbers):
        raise ImageError(WHAT_ELSE[tag])
