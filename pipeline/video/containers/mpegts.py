"""MPEG transport streams: fixed-size packets, numbered modulo 16, ISO/IEC 13818-1."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.video.containers.mapped import mapped

if TYPE_CHECKING:
    from pipeline.video.packets import Packets

SYNC = 0x47
SIZES = (188, 192, 204)  # bytes from one packet to the next
PROBED = 20  # packets
STAMPS = 2**33
MOST_MERGED = 0.1  # share of the time stamps; two fields may make one frame
BLOCK = 2**16  # packets


def mpegts_damage(file: BinaryIO, pid: int, packets: Packets) -> str:
    """Return the damage in the packets of one stream; empty if there is none."""
    with mapped(file) as mapping:
        content = np.frombuffer(mapping, np.uint8)
        try:
            return _damage(content, pid, packets)
        finally:
            del content


def _damage(content: NDArray[np.uint8], pid: int, packets: Packets) -> str:
    layout = _layout(content)
    if layout is None:
        return "it does not begin with packets"
    size, begin = layout
    table = content[begin : begin + (len(content) - begin) // size * size].reshape(-1, size)
    stamps, last = [np.zeros(0, np.int64)], np.zeros(0, np.uint8)
    for first in range(0, len(table), BLOCK):
        rows = np.array(table[first : first + BLOCK, :188])
        if (rows[:, 0] != SYNC).any():
            wrong = first + int(np.argmax(rows[:, 0] != SYNC))
            return f"no packet begins at byte {begin + wrong * size}"
        ours = rows[((rows[:, 1] & 0x1F).astype(int) << 8 | rows[:, 2]) == pid]
        ours = ours[ours[:, 3] & 0x10 > 0]  # with a payload
        if _skips(ours, last):
            return "packets of the video are missing"
        last = ours[-1:, 3] if len(ours) else last
        heads = _heads(ours[ours[:, 1] & 0x40 > 0])
        if (heads[:, :3] != (0, 0, 1)).any():
            return "the beginning of a frame is missing"
        stamps.append(_stamps(heads[heads[:, 7] & 0x80 > 0]))
    return _lost_stamps(np.unique(np.concatenate(stamps)), packets)


def _layout(content: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Return the packet size and the offset of the first whole packet."""
    for size in SIZES:
        for begin in range(min(size, len(content))):
            marks = content[begin : begin + PROBED * size : size]
            if len(marks) >= 3 and (marks == SYNC).all():
                return size, begin
    return None


def _skips(ours: NDArray[np.uint8], last: NDArray[np.uint8]) -> bool:
    """Tell whether packets are missing; duplicates and marked discontinuities are allowed."""
    numbers = np.append(last, ours[:, 3]) & 0x0F
    steps = (np.diff(numbers.astype(int)) % 16)[-len(ours) :] if len(numbers) > 1 else numbers[:0]
    ours = ours[len(ours) - len(steps) :]
    marked = (ours[:, 3] & 0x20 > 0) & (ours[:, 4] > 0) & (ours[:, 5] & 0x80 > 0)
    return bool(((steps > 1) & ~marked).any())


def _heads(begins: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the first 14 bytes of each payload that begins a PES packet."""
    adapted = begins[:, 3] & 0x20 > 0
    start = 4 + np.where(adapted, 1 + begins[:, 4].astype(int), 0)
    start = np.minimum(start, 188 - 14)
    return np.take_along_axis(begins, start[:, None] + np.arange(14), axis=1)


def _stamps(heads: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the presentation time stamps: 33 bits in five bytes each."""
    a, b, c, d, e = heads[:, 9:14].astype(np.int64).T
    stamps: NDArray[np.int64] = (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
    return stamps


def _lost_stamps(stated: NDArray[np.int64], packets: Packets) -> str:
    """Return the damage if the file states time stamps of frames that cannot be read."""
    read = np.frombuffer(packets.pts, np.int64) % STAMPS
    missing = np.setdiff1d(stated, read)
    if 0 < len(missing) <= MOST_MERGED * len(stated):
        return f"{len(missing)} of its frames cannot be found"
    return ""
