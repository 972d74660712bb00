"""Check that a file is not truncated and lacks no frames, as far as the file can tell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from pipeline.video.opening import open_video
from pipeline.video.packets import HOLE_BYTES, NO_STAMP, UNORDERED, Packets, numbers

if TYPE_CHECKING:
    from pipeline.video.index import VideoIndex

# For other formats, FFmpeg estimates the duration from the remaining bytes.
STATES_DURATION = ("matroska,webm", "flv")
# A complete file may end this much earlier than it states; the seconds are for rounding.
SPARE_FRAMES = 2
ROUNDED_SECONDS = 0.5
# A missing frame doubles the gap; films on DVD have gaps of 1.5 times the usual.
WIDE_GAP = 1.75
ONE_RATE = ("mpeg",)
STATES_NO_END = ("mpegts", "nut")
MOST_HOLES = 0.1  # of the packets
EMPTY_PACKET = 8  # bytes
TS_PACKETS = (188, 192, 204)  # bytes
# The decoding and display order of a frame differ by at most this many positions.
MOST_REORDERED = 16
SEGMENT = b"\x18\x53\x80\x67"


def check_count(path: Path, kind: str, position: int, packets: Packets, promised: int) -> None:
    """Refuse an MP4, MOV or AVI that has fewer whole packets than its header states.

    AVI counts dropped frames too, so its check uses the position of the last packet.
    """
    whole, spare = len(packets.whole), 0
    if kind == "avi" and whole:
        stamps = np.sort(numbers(packets.whole))
        whole = int(stamps[-1]) + 1
        spare = SPARE_FRAMES * int(np.diff(stamps).max(initial=1))
    if not (kind == "avi" or "mp4" in kind) or whole + spare >= promised:
        return
    if "mp4" in kind and (whole := _count_untrimmed(path, position)) >= promised:
        return
    raise InputError(
        f"{path} is truncated: it holds {whole} of its {promised} frames; replace it or remove "
        "its clips."
    )


def _count_untrimmed(path: Path, position: int) -> int:
    """Return the number of whole packets in an MP4's video stream, including trimmed ones."""
    with open_video(path, untrimmed=True) as container:
        packets = container.demux(container.streams.video[position])
        return sum(packet.dts is not None and not packet.is_corrupt for packet in packets)


def stated_end(container: Any, stream: Any) -> tuple[float, float]:
    """Return the end of the video in seconds as the file states it, and its tolerance.

    The end is 0 if the file does not state it. Other streams may be longer than the video, so the
    duration of the whole file counts only if the video is its only stream.
    """
    if container.format.name not in STATES_DURATION:
        return 0.0, 0.0
    whole = container.duration / 1e6 if container.duration else 0.0
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", stream.metadata.get("DURATION", ""))
    if tag:
        tagged = 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
        # A tag copied from a longer video exceeds the duration of the whole file.
        return (min(tagged, whole) if whole else tagged), 0.0
    return (whole if len(container.streams) == 1 else 0.0), ROUNDED_SECONDS


def check_end(path: Path, kind: str, index: VideoIndex, stated: float, spare: float) -> None:
    """Refuse a file if its frames or its bytes end earlier than it states."""
    if not len(index.keys):  # its time stamps are guesses
        return
    end = max(float(index.end * index.time_base), index.duration)
    # With a variable rate, the duration of the last frame is unknown.
    longest = float(np.diff(index.pts).max(initial=0) * index.time_base)
    gap = max(longest, index.duration / len(index))
    if end + SPARE_FRAMES * gap + spare < stated:
        raise InputError(
            f"{path} is truncated: it ends at {end:.3f} s of {stated:.3f} s; replace it or remove "
            "its clips."
        )
    size, promised = path.stat().st_size, 0
    if "matroska" in kind:
        promised = _segment_end(path)
    elif "mp4" in kind:
        promised = _boxes_end(path)
    elif kind == "mpegts" and all(size % packet for packet in TS_PACKETS):
        promised = size + 1
    if size < promised:
        raise InputError(
            f"{path} is truncated: its last part is missing, from byte {size} on; replace it or "
            "remove its clips."
        )


def _segment_end(path: Path) -> int:
    """Return the end of a Matroska segment as stated; 0 if it is not stated."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    offset = head.find(SEGMENT) + len(SEGMENT)
    if offset < len(SEGMENT) or offset >= len(head) or not head[offset]:
        return 0
    length = 9 - head[offset].bit_length()  # EBML: the leading zeros count further bytes
    size = int.from_bytes(head[offset : offset + length], "big") - (1 << 7 * length)
    unknown = (1 << 7 * length) - 1
    return 0 if size == unknown else offset + length + size


def _boxes_end(path: Path) -> int:
    """Return the end of the last box of a fragmented MP4; 0 for other MP4 files."""
    offset, kind, in_fragments = 0, b"", False
    size = path.stat().st_size
    with path.open("rb") as stream:
        while offset < size:
            stream.seek(offset)
            head = stream.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            in_fragments |= kind == b"moof"
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
            if length < 8:  # to the end of the file, or not a box
                break
            offset += length
    return offset if in_fragments else 0


def check_middle(path: Path, kind: str, packets: Packets, index: VideoIndex, count: int) -> None:
    """Refuse a file that lost frames or parts of frames: later frames would get wrong numbers.

    Recorders drop frames, so a gap in time alone proves damage only in formats with a fixed rate.
    """
    if packets.cut >= 0:
        raise _damaged(path, f"part of frame {packets.cut} is missing")
    if kind in UNORDERED:  # other time stamps are guesses where frames are reordered
        packet_stamps = numbers(packets.dts)
        stamps = np.unique(packet_stamps[packet_stamps != NO_STAMP])
    else:
        packet_stamps, stamps = numbers(packets.pts), index.pts
    gaps = np.diff(stamps)
    wide = np.flatnonzero(gaps > WIDE_GAP * np.median(gaps)) if len(gaps) else gaps
    if kind not in ONE_RATE:
        before = _before_holes(kind, packets, packet_stamps)
        if kind == "avi" and len(before) and int(stamps[-1]) + 1 < count:
            raise _damaged(path, f"it holds {int(stamps[-1]) + 1} of its {count} frames")
        positions = np.append(np.sort(np.searchsorted(stamps, before)), np.iinfo(np.int64).max)
        nearest = positions[np.searchsorted(positions, wide - MOST_REORDERED)]
        wide = wide[nearest <= wide + MOST_REORDERED]
    if len(wide):
        first = int(wide[0])
        seconds = float((stamps[first] - stamps[0]) * index.time_base + index.delay)
        raise _damaged(path, f"frames are missing after frame {first}, at {seconds:.3f} s")


def _before_holes(kind: str, packets: Packets, stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the time stamps of the frames just before a hole in the file, or before its end."""
    following, missing = numbers(packets.holes), numbers(packets.missing)
    # There may be fewer counted frames than packets.
    before = stamps[np.clip(following - 1, 0, len(stamps) - 1)]
    if kind == "avi":  # a dropped frame is an empty packet
        missing = missing - EMPTY_PACKET * (stamps[np.minimum(following, len(stamps) - 1)] - before)
    before = before[missing > HOLE_BYTES]
    if len(before) > len(stamps) * MOST_HOLES:  # some recorders pad packets
        before = before[:0]
    # A truncated file with reordered frames may end with a later frame before an earlier one.
    ends = kind in STATES_NO_END and (np.diff(stamps) < 0).any()
    return np.append(before, stamps[-1]) if ends else before


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged: {what}; replace it or remove its clips.")
