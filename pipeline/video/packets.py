"""One pass over the packets of a video, demuxing only."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.video.bitstream import Bits, bits_of

NO_STAMP = -(2**63)  # AV_NOPTS_VALUE
# In these, one packet follows the other, but for headers of fewer bytes than `HOLE_BYTES`.
SEAMLESS = ("matroska,webm", "flv", "avi", "nut", "asf")
HOLE_BYTES = 256
# These keep only the order of decoding, from which FFmpeg guesses how frames are reordered.
UNORDERED = ("avi", "asf")
# The frames of ASF lie in blocks of one size, named here in its header; any may be part empty.
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _numbers() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Packets:
    """Of every packet that holds a frame, in the order of the file; an hour takes a few megabytes.

    A packet whose picture is never shown holds no frame.

    Attributes
    ----------
    pts : array of int64
        In units of the stream's time base; `NO_STAMP` where the file states none.
    dts : array of int64
        The same of decoding; empty but for `UNORDERED` formats.
    latest, last : int
        Largest time stamp, and how long its frame is shown; 0 where that is not known.
    keys : bytearray
        1 for key frames: packets that the file calls so, and whose bits agree.
    mislabelled : bool
        Whether the file calls a packet a key frame whose bits do not agree, or cannot be read.
    packed : bool
        Whether one packet holds several frames, whose time stamps the decoder then mixes up.
    whole : array of int64
        Decoding times of all packets that are not cut off, hidden and empty ones included.
    holes : array of int64
        How many frames lie before bytes of the file that belong to no packet.
    missing : array of int64
        How many bytes these are.
    cut : int
        How many frames lie before the first packet of which data are missing; -1 if there is none.
    filled : int
        How many packets are not empty, hidden ones included.
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
    """Read all packets of one stream, and where in the file those of the others lie."""
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
    place = head.find(ASF_PROPERTIES)
    return int.from_bytes(head[place + 96 : place + 100], "little") if place >= 0 else 0


def numbers(values: array[int]) -> NDArray[np.int64]:
    """Return values as an array that shares their memory."""
    return np.frombuffer(values, np.int64)
