"""NUT: frames, each with its length, between packets with a checksum."""

from __future__ import annotations

from dataclasses import dataclass, field
from mmap import mmap
from typing import BinaryIO, NamedTuple

from pipeline.video.containers.crc import crc
from pipeline.video.containers.mapped import mapped

MAIN = bytes.fromhex("4e4d7a561f5f04ad")
SYNCPOINT = bytes.fromhex("4e4be4adeeca4569")
INDEX = bytes.fromhex("4e58dd672f23e64e")
STARTCODE, CHECKSUM = 8, 4  # bytes
LONG = 4096  # bytes: a packet that is longer has a checksum of its length, too
WITHOUT_PREFIX = 4096  # bytes: a frame that is longer has no prefix
PACKET = ord("N")  # begins a packet, and no frame
# Flags of what is stated in front of a frame, in this order.
CODED_PTS, STREAM, SIZE, SUM, RESERVED = 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7
MATCH, PREFIX, CODED, INVALID = 1 << 9, 1 << 10, 1 << 12, 1 << 13


class DamagedError(Exception):
    """What is damaged, in words."""


class Code(NamedTuple):
    """What the first byte of a frame stands for; see the specification of NUT."""

    flags: int
    stream: int
    factor: int
    least: int
    reserved: int
    prefix: int


@dataclass
class Header:
    """What a file states of its frames.

    Attributes
    ----------
    streams : int
    codes : list of Code
        By the first byte of a frame.
    prefixes : list of int
        Lengths of what frames begin with and the file leaves out.
    """

    streams: int
    codes: list[Code] = field(default_factory=list)
    prefixes: list[int] = field(default_factory=lambda: [0])


class Reader:
    """Numbers of variable length, one after the other."""

    def __init__(self, content: bytes | mmap, place: int) -> None:
        self._content = content
        self.place = place

    def byte(self) -> int:
        """Return the next byte."""
        self.place += 1
        return self._content[self.place - 1]

    def number(self) -> int:
        """Return the next number, of seven bits a byte."""
        value = 0
        while True:
            byte = self.byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value


def nut_damage(file: BinaryIO, stream: int, packets: int | None) -> str:
    """Return what is wrong with the frames of a file; empty if nothing is.

    Parameters
    ----------
    file : binary file
    stream : int
    packets : int, optional
        How many of the stream FFmpeg read that are not empty, if each holds one frame.
    """
    with mapped(file) as content:
        try:
            frames = _frames(content, stream)
        except DamagedError as damage:
            return str(damage)
    if packets is not None and frames > packets:
        return f"it holds {frames} frames, of which {packets} can be read"
    return ""


def _frames(content: mmap, stream: int) -> int:
    """Count the whole frames of a stream; every frame must end where another part begins."""
    place, count = content.find(MAIN, 0, LONG), 0
    if place < 0:
        raise DamagedError("its header cannot be found")
    start, end = _packet(content, place)
    header = _header(content[start:end])
    while place < len(content):
        begin = place
        try:
            if content[place] == PACKET:
                _, place = _packet(content, place)
                if content[begin : begin + STARTCODE] == INDEX:
                    if (again := content.find(SYNCPOINT, place)) >= 0:
                        raise DamagedError(f"frames follow its index, at byte {again}")
                    break
                continue
            found, size, place = _frame(Reader(content, place), header)
        except IndexError:
            place = len(content) + 1
        if place > len(content):
            if any(content.find(code, begin + 1) >= 0 for code in (SYNCPOINT, INDEX)):
                raise DamagedError(f"byte {begin} begins no frame")
            break
        count += found == stream and size > 0
    return count


def _packet(content: mmap, begin: int) -> tuple[int, int]:
    """Return where the content of a packet begins, and where the packet ends."""
    reader = Reader(content, begin + STARTCODE)
    length = reader.number()
    start = reader.place + (CHECKSUM if length > LONG else 0)
    end = start + length
    body = content[start : max(start, end - CHECKSUM)]
    if end > len(content):
        return start, end
    if crc(body) != int.from_bytes(content[end - CHECKSUM : end], "big"):
        raise DamagedError(f"the checksum of the packet at byte {begin} is wrong")
    return start, end


def _header(body: bytes) -> Header:
    """Read the main header."""
    reader = Reader(body, 0)
    if reader.number() > 3:
        reader.number()
    header = Header(reader.number())
    reader.number()
    for _ in range(2 * reader.number()):
        reader.number()
    factor, stream, prefix = 1, 0, 0
    while len(header.codes) < 256:
        flags, stated = reader.number(), reader.number()
        fields = [reader.number() for _ in range(stated)]
        factor = fields[1] if stated > 1 else factor
        stream = fields[2] if stated > 2 else stream
        least, reserved = (fields[n] if stated > n else 0 for n in (3, 4))
        count = fields[5] if stated > 5 else factor - least
        prefix = fields[7] if stated > 7 else prefix
        for size in range(least, least + count):
            if len(header.codes) == PACKET:
                header.codes.append(Code(INVALID, 0, 0, 0, 0, 0))
            header.codes.append(Code(flags, stream, factor, size, reserved, prefix))
    if reader.place < len(body) - CHECKSUM:
        for _ in range(reader.number()):
            header.prefixes.append(reader.number())
            reader.place += header.prefixes[-1]
    return header


def _frame(reader: Reader, header: Header) -> tuple[int, int, int]:
    """Return the stream of a frame, its size, and where it ends."""
    begin = reader.place
    code = header.codes[reader.byte()]
    flags, stream, prefix, reserved = code.flags, code.stream, code.prefix, code.reserved
    if flags & CODED:
        flags ^= reader.number()
    if flags & STREAM:
        stream = reader.number()
    if flags & CODED_PTS:
        reader.number()
    size = code.least + (code.factor * reader.number() if flags & SIZE else 0)
    if flags & MATCH:
        reader.number()
    if flags & PREFIX:
        prefix = reader.number()
    if flags & RESERVED:
        reserved = reader.number()
    for _ in range(reserved):
        reader.number()
    if flags & SUM:
        reader.place += CHECKSUM
    if flags & INVALID or stream >= header.streams or prefix >= len(header.prefixes):
        raise DamagedError(f"byte {begin} begins no frame")
    inside = size - (0 if size > WITHOUT_PREFIX else header.prefixes[prefix])
    if inside < 0:
        raise DamagedError(f"byte {begin} begins no frame")
    return stream, size, reader.place + inside
