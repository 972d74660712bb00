"""Read the packets of a video in one pass, demuxing only."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.video.bitstream import Bits, bits_of

NO_STAMP = -(2**63)  # AV_NOPTS_VALUE
# In these formats, gaps between packets are headers of fewer than `HOLE_BYTES`.
SEAMLESS = ("matroska,webm", "flv", "avi", "nut", "asf")
HOLE_BYTES = 256
# These store only the decoding order, from which FFmpeg guesses the display order.
UNORDERED = ("avi", "asf")
# The ASF header object that states the size of data packets; any packet may be padded.
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _numbers() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Packets:
    """Fields of all packets that hold a frame, in file order; an hour takes a few megabytes.

    A packet with a picture that is never shown holds no frame.

    Attributes
    ----------
    pts : array of int64
        In units of the stream's time base; `NO_STAMP` if the file states none.
    dts : array of int64
        Decoding times, for `UNORDERED` formats only.
    latest, last : int
        Largest time stamp, and the duration of its frame; 0 if it is unknown.
    keys : bytearray
        1 for key frames: the file flags the packet, and its bits agree.
    mislabelled : bool
        Whether the file flags a key frame but the bits disagree or cannot be read.
    packed : bool
        Whether a packet holds several frames; the decoder then mixes up their time stamps.
    whole : array of int64
        Decoding times of all packets that are not truncated, including hidden and empty ones.
    holes : array of int64
        Number of frames before each range of bytes that belongs to no packet.
    missing : array of int64
        Size of each of these ranges, in bytes.
    cut : int
        Number of frames before the first packet with missing data; -1 if there is none.
    filled : int
        Number of non-empty packets, including hidden ones.
    """

    pts: array[int] = field(default_factory=_numbers)
    dts: array[int] = field(default_factory=_numbers)
    latest: int = NO_STAMP
    last: int = 0
    keys: bytearray = field(default_factory=bytearray)
    mislabelled: bool = False
    packed: bool = False
    whole: array[int] = field(default_factory=_numbers)
    holes: array[int] = field(default_factory=_numbers)
    missing: array[int] = field(default_factory=_numbers)
    cut: int = -1
    filled: int = 0

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def stamped(self) -> bool:
        """Whether every frame has a time stamp."""
        return NO_STAMP not in self.pts

    def add(self, packet: Any, bits: Bits, *, unordered: bool) -> None:
        """Add a packet of the video."""
        if packet.is_corrupt and packet.size and self.cut < 0:
            self.cut = len(self)
        if packet.dts is not None and not packet.is_corrupt:
            self.whole.append(packet.dts)
        self.filled += packet.size > 0
        if packet.size and not packet.is_discard and bits.shows(packet):
            pts = NO_STAMP if packet.pts is None else packet.pts
            self.pts.append(pts)
            if pts >= self.latest:
                self.latest, self.last = pts, packet.duration or 0
            if unordered:
                self.dts.append(NO_STAMP if packet.dts is None else packet.dts)
            key = packet.is_keyframe and bits.begins(packet)
            self.keys.append(key)
            self.mislabelled |= packet.is_keyframe and not key and len(self.keys) > 1
            self.packed |= bits.joins(packet)


def read_packets(path: Path, container: Any, stream: Any) -> Packets:
    """Return the packets of one stream, and the holes in the file between all packets."""
    packets = Packets()
    bits = bits_of(stream.codec_context)
    kind = container.format.name
    hole = HOLE_BYTES + (_asf_block(path) if kind == "asf" else 0)
    end = None
    for packet in container.demux() if kind in SEAMLESS else container.demux(stream):
        if kind in SEAMLESS and packet.size and packet.pos is not None:
            if end is not None and packet.pos > end + hole:
                packets.holes.append(len(packets))
                packets.missing.append(packet.pos - end)
            end = max(end or 0, packet.pos + packet.size)
        if packet.stream_index == stream.index:
            packets.add(packet, bits, unordered=kind in UNORDERED)
    return packets


def _asf_block(path: Path) -> int:
    with path.open("rb") as stream:
        head = stream.read(2**16)
    offset = head.find(ASF_PROPERTIES)
    return int.from_bytes(head[offset + 96 : offset + 100], "little") if offset >= 0 else 0


def numbers(values: array[int]) -> NDArray[np.int64]:
    """Return the values as an array that shares their memory."""
    return np.frombuffer(values, np.int64)
