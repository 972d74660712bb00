"""Whether a file holds all frames that it once held, as far as it tells."""

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

# Of other formats FFmpeg estimates the duration from what is left of the file.
STATES_DURATION = ("matroska,webm", "flv")
# A whole file may end this much earlier than it states; the seconds are for rounded durations.
SPARE_FRAMES = 2
ROUNDED_SECONDS = 0.5
# Where a frame is missing, the gap is twice as wide; films on DVD have gaps half as wide again.
WIDE_GAP = 1.75
ONE_RATE = ("mpeg",)
STATES_NO_END = ("mpegts", "nut")
MOST_HOLES = 0.1  # of the packets
EMPTY_PACKET = 8  # bytes
TS_PACKETS = (188, 192, 204)  # bytes
# Packets are at most so many places from where their frames are shown.
MOST_REORDERED = 16
SEGMENT = b"\x18\x53\x80\x67"


def check_count(path: Path, kind: str, place: int, packets: Packets, promised: int) -> None:
    """Refuse an MP4, MOV or AVI whose whole packets are fewer than its header counts.

    AVI counts dropped frames too, so there the place of the last packet is compared.
    """
    found, spare = len(packets.whole), 0
    if kind == "avi" and found:
        stamps = np.sort(numbers(packets.whole))
        found = int(stamps[-1]) + 1
        spare = SPARE_FRAMES * int(np.diff(stamps).max(initial=1))
    if not (kind == "avi" or "mp4" in kind) or found + spare >= promised:
        return
    if "mp4" in kind and (found := _count_untrimmed(path, place)) >= promised:
        return
    raise InputError(
        f"{path} is truncated: it holds {found} of its {promised} frames; replace it or remove "
        "its clips."
    )


def _count_untrimmed(path: Path, place: int) -> int:
    """Return how many whole packets a video stream of an MP4 has, those before a trim included."""
    with open_video(path, untrimmed=True) as container:
        packets = container.demux(container.streams.video[place])
        return sum(packet.dts is not None and not packet.is_corrupt for packet in packets)


def stated_end(container: Any, stream: Any) -> tuple[float, float]:
    """Return at how many seconds the file says that the video ends, and how exactly it says so.

    Where it says nothing, the end is 0: other streams may be longer than the video, so what is
    stated of all of them together counts only if there is no other.
    """
    if container.format.name not in STATES_DURATION:
        return 0.0, 0.0
    whole = container.duration / 1e6 if container.duration else 0.0
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", stream.metadata.get("DURATION", ""))
    if tag:
        own = 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
        # A tag that was copied from a longer video exceeds what is stated of the whole file.
        return (min(own, whole) if whole else own), 0.0
    return (whole if len(container.streams) == 1 else 0.0), ROUNDED_SECONDS


def check_end(path: Path, kind: str, index: VideoIndex, stated: float, spare: float) -> None:
    """Refuse a file whose frames, or whose bytes, end earlier than it states."""
    if not len(index.keys):  # its times are guessed
        return
    end = max(float(index.end * index.time_base), index.duration)
    # Where the rate varies, nothing tells how long the last frame lasts.
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
    """Return where a Matroska file says that its segment ends; 0 where it does not say."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    place = head.find(SEGMENT) + len(SEGMENT)
    if place < len(SEGMENT) or place >= len(head) or not head[place]:
        return 0
    length = 9 - head[place].bit_length()  # an EBML number: leading zeros count its further bytes
    size = int.from_bytes(head[place : place + length], "big") - (1 << 7 * length)
    unknown = (1 << 7 * length) - 1
    return 0 if size == unknown else place + length + size


def _boxes_end(path: Path) -> int:
    """Return where the last box of an MP4 in fragments ends; 0 for one that is not in fragments."""
    place, kind, in_fragments = 0, b"", False
    size = path.stat().st_size
    with path.open("rb") as stream:
        while place < size:
            stream.seek(place)
            head = stream.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            in_fragments |= kind == b"moof"
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
            if length < 8:  # to the end of the file, or not a box
                break
            place += length
    return place if in_fragments else 0


def check_middle(path: Path, kind: str, packets: Packets, index: VideoIndex, count: int) -> None:
    """Refuse a file that lost frames or parts of them, for those behind would be miscounted.

    A gap in time alone is no proof, as recorders drop frames, unless the format has one rate.
    """
    if packets.cut >= 0:
        raise _damaged(path, f"part of frame {packets.cut} is missing")
    if kind in UNORDERED:  # where frames are reordered, other time stamps of these are guessed
        own = numbers(packets.dts)
        stamps = np.unique(own[own != NO_STAMP])
    else:
        own, stamps = numbers(packets.pts), index.pts
    gaps = np.diff(stamps)
    wide = np.flatnonzero(gaps > WIDE_GAP * np.median(gaps)) if len(gaps) else gaps
    if kind not in ONE_RATE:
        before = _before_holes(kind, packets, own)
        if kind == "avi" and len(before) and int(stamps[-1]) + 1 < count:
            raise _damaged(path, f"it holds {int(stamps[-1]) + 1} of its {count} frames")
        places = np.append(np.sort(np.searchsorted(stamps, before)), np.iinfo(np.int64).max)
        nearest = places[np.searchsorted(places, wide - MOST_REORDERED)]
        wide = wide[nearest <= wide + MOST_REORDERED]
    if len(wide):
        first = int(wide[0])
        seconds = float((stamps[first] - stamps[0]) * index.time_base + index.delay)
        raise _damaged(path, f"frames are missing behind frame {first}, at {seconds:.3f} s")


def _before_holes(kind: str, packets: Packets, own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the time stamps of the frames that lie before holes in the file, or before its end."""
    behind, missing = numbers(packets.holes), numbers(packets.missing)
    # Where frames are counted, they may be fewer than packets.
    before = own[np.clip(behind - 1, 0, len(own) - 1)]
    if kind == "avi":  # a dropped frame is an empty packet
        missing = missing - EMPTY_PACKET * (own[np.minimum(behind, len(own) - 1)] - before)
    before = before[missing > HOLE_BYTES]
    if len(before) > len(own) * MOST_HOLES:  # some recorders pad packets
        before = before[:0]
    # Cut off, a file whose frames are reordered may end with a later frame before an earlier one.
    ends = kind in STATES_NO_END and (np.diff(own) < 0).any()
    return np.append(before, own[-1]) if ends else before


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged: {what}; replace it or remove its clips.")
