"""A video's index: the time of every frame, read from its packets without decoding."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError

PixelRange = Literal["full", "limited"]
FULL_RANGE_TAG = 2  # AVCOL_RANGE_JPEG
LIMITED_RANGE_TAG = 1  # AVCOL_RANGE_MPEG
# Grey pictures of these codecs are luma planes; of any other codec, plain grey values.
LUMA_CODECS = ("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9", "av1")
# These have no table of key frames, and behind a seek FFmpeg guesses some of their time stamps.
UNINDEXED = ("mpeg", "mpegts")
# AVI keeps only the order of decoding, from which FFmpeg guesses wrongly for these codecs.
REORDERED_IN_AVI = ("h264", "hevc")
# Of other formats FFmpeg estimates the duration from what is left of the file.
STATES_DURATION = ("matroska,webm", "flv")
# A whole file may end this much earlier than it states; the seconds are for rounded durations.
SPARE_FRAMES = 2
ROUNDED_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """What is known of a video without decoding it.

    Attributes
    ----------
    pts : ndarray of int64, shape (frames,)
        Presentation time stamps in units of `time_base`, ascending.
    keys : ndarray of int64
        Positions in `pts` of the key frames, only the first where the file cannot be sought by
        them; empty where decoded frames carry no time stamp and are counted from the beginning.
    time_base : Fraction
        Seconds a unit.
    end : int
        Time stamp at which the last frame ends.
    width, height : int
        Of the coded picture, before rotation.
    pixel_format : str
        FFmpeg's name, such as ``yuv420p``.
    bits : int
        Bits of a luma value.
    pixel_range : {"full", "limited"}
        The range that luma values are taken to have; see `assumed_range`.
    timed : bool
        False for a folder of images of unknown rate, whose `pts` only count.
    """

    pts: NDArray[np.int64]
    keys: NDArray[np.int64]
    time_base: Fraction
    end: int
    width: int
    height: int
    pixel_format: str
    bits: int
    pixel_range: PixelRange
    timed: bool = True

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Time of every frame in seconds since the first one, shape (frames,); NaN if unknown."""
        if not self.timed or not len(self):
            return np.full(len(self), np.nan)
        seconds: NDArray[np.float64] = (self.pts - self.pts[0]) * float(self.time_base)
        return seconds

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last one."""
        return float((self.end - int(self.pts[0])) * self.time_base)

    @property
    def rate(self) -> float | None:
        """Frames per second: the larger of the mean and the median rate; None if unknown.

        The two differ where frames were dropped, and then the median tells the camera's rate.
        """
        if len(self) < 2 or not self.timed:
            return None
        gaps = np.diff(self.pts)
        shortest = min(float(np.mean(gaps)), float(np.median(gaps)))
        return float(1 / (shortest * self.time_base))

    def pack(self) -> bytes:
        """Return the index as bytes for the cache."""
        fields: dict[str, Any] = asdict(self)
        fields |= {"pts": np.diff(self.pts, prepend=0).tolist(), "keys": self.keys.tolist()}
        fields["time_base"] = str(self.time_base)
        return zlib.compress(json.dumps(fields).encode(), 1)

    @classmethod
    def unpack(cls, packed: bytes) -> VideoIndex:
        """Return the index that `pack` made bytes of."""
        fields = json.loads(zlib.decompress(packed))
        fields["pts"] = np.cumsum(np.array(fields["pts"], np.int64))
        fields["keys"] = np.array(fields["keys"], np.int64)
        fields["time_base"] = Fraction(fields["time_base"])
        return cls(**fields)


def empty_index() -> VideoIndex:
    """Return the index of a video that cannot be read."""
    nothing = np.zeros(0, np.int64)
    return VideoIndex(nothing, nothing, Fraction(1), 0, 0, 0, "none", 8, "limited")


def assumed_range(pixel_format: str, bits: int, tag: int, codec: str) -> PixelRange:
    """Decide which range luma values have.

    A tag in the file decides. Without one, YUV is limited, as broadcast and nearly every encoder
    have it, and RGB and plain grey are full. More than 8 bits divide by their own maximum.

    Examples
    --------
    >>> assumed_range("yuv420p", 8, 0, "h264"), assumed_range("gray", 8, 0, "ffv1")
    ('limited', 'full')
    """
    if bits > 8 or tag == FULL_RANGE_TAG or pixel_format.startswith("yuvj"):
        return "full"
    plain_grey = pixel_format.startswith("gray") and codec not in LUMA_CODECS
    rgb = any(name in pixel_format for name in ("rgb", "bgr", "gbr", "pal8"))
    if tag != LIMITED_RANGE_TAG and (plain_grey or rgb):
        return "full"
    return "limited"


def read_index(path: Path) -> VideoIndex:
    """Read the packets' time stamps of a video, demuxing only.

    Where packets carry no time stamps (raw streams, some AVI files), the video is decoded once
    instead, and its index has no key frames: such a file is always read from its beginning.

    Raises
    ------
    InputError
        If the file is not a video, or holds no frames.
    """
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video stream; remove its clips or replace it.")
            stream = container.streams.video[0]
            packets, whole = [], []
            for packet in container.demux(stream):
                if packet.dts is not None and not packet.is_corrupt:
                    whole.append(packet.dts)
                if packet.size and not packet.is_discard:
                    packets.append((packet.pts, packet.duration or 0, packet.is_keyframe))
            kind, codec = container.format.name, stream.codec_context.name
            _check_count(path, kind, whole, stream.frames)
            stated = _stated_end(container, stream)
            guessed = kind == "avi" and codec in REORDERED_IN_AVI
            if guessed or any(pts is None for pts, _, _ in packets):
                packets = _decoded_stamps(path)
            picture = _picture(stream.codec_context)
            time_base = stream.time_base or Fraction(1, 1)
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path} cannot be read as a video: {_reason(error)}; replace it or remove its clips."
        ) from None
    if not packets:
        raise InputError(f"{path} holds no frames; replace it or remove its clips.")
    index = _index(path, packets, time_base, picture)
    _check_end(path, index, *stated)
    return replace(index, keys=index.keys[:1]) if kind in UNINDEXED else index


def _check_count(path: Path, kind: str, stamps: list[int], promised: int) -> None:
    """Refuse an MP4, MOV or AVI whose whole packets are fewer than its header counts.

    AVI counts dropped frames too, so there the place of the last packet is compared.
    """
    found, spare = len(stamps), 0
    if kind == "avi" and stamps:
        found = max(stamps) + 1
        spare = SPARE_FRAMES * int(np.diff(sorted(stamps)).max(initial=1))
    if not (kind == "avi" or "mp4" in kind) or found + spare >= promised:
        return
    raise InputError(
        f"{path} is truncated: it holds {found} of its {promised} frames; replace it or remove "
        "its clips."
    )


def _stated_end(container: Any, stream: Any) -> tuple[float, float]:
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


def _check_end(path: Path, index: VideoIndex, stated: float, spare: float) -> None:
    """Refuse a file whose frames end earlier than it states."""
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


def _index(
    path: Path, packets: list[Any], time_base: Fraction, picture: dict[str, Any]
) -> VideoIndex:
    packets.sort(key=lambda packet: packet[0])
    pts = np.array([packet[0] for packet in packets], np.int64)
    if len(np.unique(pts)) < len(pts):
        twice = int(pts[1:][np.diff(pts) == 0][0])
        raise InputError(
            f"{path}: two frames have the time stamp {float(twice * time_base):.3f} s; "
            "re-encode the video, for frames cannot be told apart."
        )
    last = packets[-1][1] or (int(np.median(np.diff(pts))) if len(pts) > 1 else 1)
    keys = np.flatnonzero([packet[2] for packet in packets])
    return VideoIndex(pts, keys, time_base, int(pts[-1]) + last, **picture)


def _picture(context: Any) -> dict[str, Any]:
    import av

    name = context.pix_fmt or ""
    bits = av.VideoFormat(name).components[0].bits if name else 8
    return {
        "width": context.width,
        "height": context.height,
        "pixel_format": name,
        "bits": bits,
        "pixel_range": assumed_range(name, bits, int(context.color_range or 0), context.name),
    }


def _decoded_stamps(path: Path) -> list[Any]:
    """Return (time stamp, duration, False) of every frame of a file whose packets have none."""
    import av

    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or Fraction(1)
        tick = max(1, round(1 / (rate * (stream.time_base or 1 / rate))))
        return [(number * tick, tick, False) for number, _ in enumerate(container.decode(stream))]


def _reason(error: Exception) -> str:
    """Return FFmpeg's words without the number and path that Python adds."""
    return str(getattr(error, "strerror", None) or error)
