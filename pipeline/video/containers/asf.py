"""ASF and WMV: fixed-size data packets; their payloads number the frames of each stream."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import BinaryIO, NamedTuple

from pipeline.video.containers.mapped import mapped

PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
# Two kinds of index that may follow the packets of a file that does not state their number.
INDEXES = (
    bytes.fromhex("90080033b1e5cf1189f400a0c90349cb"),
    bytes.fromhex("d329e2d6da35d111903400a0c90349be"),
)
OBJECT, DATA_HEAD = 24, 50  # bytes
LIVE = 1  # flag of a live recording: its counts mean nothing
WIDTHS = (0, 1, 2, 4)  # bytes of a number, by its two flag bits
COMPRESSED = 1  # in the field for the length of details: the payload holds several frames
DETAILS = 8  # bytes: size and time of a frame


class Payload(NamedTuple):
    """A part of a frame.

    Attributes
    ----------
    stream : int
    number : int
        Of the frame in its stream, modulo `modulus`.
    modulus : int
    offset : int
        Of this part in the frame, in bytes.
    size : int
        Of the whole frame; -1 if the payload does not state it.
    time : int
        Milliseconds; the same in every part of a frame.
    length : int
        Of this part.
    frames : int
        Number of whole frames in the payload; 0 if it is part of a frame.
    """

    stream: int
    number: int
    modulus: int
    offset: int
    size: int
    time: int
    length: int
    frames: int


class _DamagedError(Exception):
    """The data are damaged; the message says how."""


def asf_damage(file: BinaryIO, stream: int, packets: int | None) -> str:
    """Return the damage in the data packets of one stream; empty if there is none.

    Parameters
    ----------
    file : binary file
    stream : int
        Number of the stream in the file.
    packets : int, optional
        Number of non-empty packets that FFmpeg read, if each holds one frame.
    """
    with mapped(file) as content:
        properties = content.find(PROPERTIES, 0, 2**16)
        begin = _number(content, 16, 8)
        if properties < 0 or content[begin : begin + len(DATA)] != DATA:
            return "its header does not lead to its data"
        flags, size, largest = (_number(content, properties + n, 4) for n in (88, 92, 96))
        if size != largest or size <= DETAILS:
            return "its header does not state one size of packets"
        length = _number(content, begin + 16, 8)
        counted = 0 if flags & LIVE else _number(content, begin + 40, 8)
        end = begin + length if counted else len(content)
        begin += DATA_HEAD
        if begin + counted * size > min(end, len(content)):
            return f"it does not hold all of its {counted} packets"
        starts = range(begin, min(end, len(content)) - size + 1, size)
        try:
            frames = _whole_frames(content, starts, stream)
        except _DamagedError as broken:
            return str(broken)
    if packets is not None and frames > packets:
        return f"it holds {frames} frames, but only {packets} can be read"
    return ""


def _whole_frames(content: mmap, starts: range, stream: int) -> int:
    """Count the whole frames of a stream, and check that its payloads are consecutive."""
    last: Payload | None = None
    filled = count = 0
    for start in starts:
        if content[start : start + len(DATA)] in INDEXES:
            break
        try:
            payloads = list(_payloads(content[start : start + starts.step]))
        except (_DamagedError, IndexError):
            raise _DamagedError(f"no packet begins at byte {start}") from None
        for payload in payloads:
            if payload.stream != stream or (last is None and payload.offset):
                continue
            if last is not None and payload.offset and payload.size < 0:
                payload = payload._replace(size=last.size, time=last.time)
            if last is not None and not _follows(payload, last, filled):
                raise _DamagedError(f"frames are missing or repeated in the packet at byte {start}")
            last, filled = payload, payload.offset + payload.length
            count += payload.frames or (filled == payload.size > 0)
    return count


def _follows(payload: Payload, last: Payload, filled: int) -> bool:
    """Tell whether a payload continues where the previous one ended."""
    if payload.offset:
        same = (payload.number, payload.size, payload.time) == (last.number, last.size, last.time)
        return same and payload.offset == filled
    whole = bool(last.frames) or last.size in (filled, -1)
    return whole and payload.number == (last.number + max(1, last.frames)) % payload.modulus


def _payloads(packet: bytes) -> Iterator[Payload]:
    """Yield the payloads of a data packet."""
    position = 1 + (packet[0] & 0x0F) if packet[0] & 0x80 else 0
    flags, kinds = packet[position], packet[position + 1]
    position += 2
    stated, position = _field(packet, position, flags >> 5)
    _, position = _field(packet, position, flags >> 1)
    padding, position = _field(packet, position, flags >> 3)
    end = (min(stated, len(packet)) if stated else len(packet)) - padding
    position += 6  # send time and duration
    count, width = 1, 0
    if flags & 1:
        count, width = packet[position] & 0x3F, packet[position] >> 6
        position += 1
    for _ in range(count):
        payload, position = _payload(packet, position, kinds, width if flags & 1 else -1, end)
        yield payload


def _payload(packet: bytes, position: int, kinds: int, width: int, end: int) -> tuple[Payload, int]:
    """Return a payload and its end; with a `width` of -1, it ends with its packet."""
    stream = packet[position] & 0x7F
    modulus = 1 << 8 * WIDTHS[kinds >> 4 & 3]
    number, position = _field(packet, position + 1, kinds >> 4)
    offset, position = _field(packet, position, kinds >> 2)
    details, position = _field(packet, position, kinds)
    size = time = -1
    if details >= DETAILS:
        size, time = (
            int.from_bytes(packet[position + n : position + n + 4], "little") for n in (0, 4)
        )
    elif details > COMPRESSED:
        raise _DamagedError
    position += details
    length = end - position
    if width >= 0:
        length, position = _field(packet, position, width)
    if length < 0 or position + length > end:
        raise _DamagedError
    frames = 0
    if details == COMPRESSED:
        time, offset, frames = offset, 0, _frames(packet[position : position + length])
    elif size >= 0 and offset + length > size:
        raise _DamagedError
    position += length
    return Payload(stream, number, modulus, offset, size, time, length, frames), position


def _frames(parts: bytes) -> int:
    """Return the number of frames in a payload of several; a length byte precedes each."""
    position = count = 0
    while position < len(parts):
        position += 1 + parts[position]
        count += 1
    if position != len(parts):
        raise _DamagedError
    return count


def _field(packet: bytes, position: int, kind: int) -> tuple[int, int]:
    """Return a number (0 if its kind has no bytes) and the position after it."""
    end = position + WIDTHS[kind & 3]
    return int.from_bytes(packet[position:end], "little"), end


def _number(content: mmap, position: int, width: int) -> int:
    return int.from_bytes(content[position : position + width], "little")
