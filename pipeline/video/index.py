"""A video's index: the time of every frame, read from its packets without decoding."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from pipeline.video.completeness import check_count, check_end, check_middle, stated_end
from pipeline.video.containers import check_container
from pipeline.video.opening import open_video
from pipeline.video.orientation import mirrored_track
from pipeline.video.packets import NO_STAMP, Packets, numbers, read_packets
from pipeline.video.stamps import are_guessed, counted_stamps, first_shown, in_order, mislead
from pipeline.video.streams import films, video_stream

PixelRange = Literal["full", "limited"]
FULL_RANGE_TAG = 2  # AVCOL_RANGE_JPEG
LIMITED_RANGE_TAG = 1  # AVCOL_RANGE_MPEG
# Grey pictures of these codecs are luma planes; those of other codecs are plain grey values.
LUMA_CODECS = ("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9", "av1")
# These have no table of key frames, and FFmpeg guesses some of their time stamps after a seek.
UNINDEXED = ("mpeg", "mpegts")


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """The frame times and picture format of a video, read without decoding.

    Attributes
    ----------
    pts : ndarray of int64, shape (frames,)
        Presentation time stamps in units of `time_base`, ascending.
    keys : ndarray of int64
        Positions in `pts` of the key frames; only the first if the file cannot seek to them.
        Empty if decoded frames carry no time stamps and are counted from the beginning.
    mislabelled : bool
        Whether the file's key frames or time stamps mislead: a key frame flag is wrong or cannot
        be checked, packets hold several frames, or time stamps are decoding times.
    in_order : bool
        Whether packets are in the order of their time stamps.
    time_base : Fraction
        Seconds per unit.
    end : int
        Time stamp at which the last frame ends.
    width, height : int
        Of the coded picture, before rotation.
    pixel_format : str
        FFmpeg's name, such as ``yuv420p``.
    bits : int
        Bits of a luma value.
    pixel_range : {"full", "limited"}
        The assumed range of luma values; see `assumed_range`.
    timed : bool
        False for a folder of images of unknown rate, whose `pts` only count.
    stream : int
        Position of the video among the file's video streams; see `video_stream`.
    streams : int
        Number of video streams, without cover pictures.
    mirrored : bool
        Whether pictures are shown mirrored. The frames state their rotation.
    palette : bool
        Whether values are indexes into a palette without a stated range.
    delay : Fraction
        Seconds from the beginning of the file, where players start to count, to the first frame.
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
    stream: int = 0
    streams: int = 1
    mirrored: bool = False
    palette: bool = False
    delay: Fraction = Fraction(0)
    mislabelled: bool = False
    in_order: bool = False

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Time of every frame in seconds, as a player shows it, shape (frames,); NaN if unknown."""
        if not self.timed or not len(self):
            return np.full(len(self), np.nan)
        seconds: NDArray[np.float64] = (self.pts - self.pts[0]) * float(self.time_base)
        return seconds + float(self.delay)

    @property
    def bounds(self) -> NDArray[np.int64]:
        """Start of every frame and end of the last one, in units of `time_base`, from 0."""
        bounds: NDArray[np.int64] = np.append(self.pts, self.end) - self.pts[0]
        return bounds

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last one."""
        return float((self.end - int(self.pts[0])) * self.time_base)

    @property
    def rate(self) -> float | None:
        """Frames per second: the larger of the mean and the median rate; None if unknown.

        They differ if frames were dropped; then the median is the camera's rate.
        """
        if len(self) < 2 or not self.timed:
            return None
        gaps = np.diff(self.pts)
        shortest = min(float(np.mean(gaps)), float(np.median(gaps)))
        return float(1 / (shortest * self.time_base))

    def __reduce__(self) -> tuple[Any, ...]:
        # Every unit of work sends an index to another process, and steady rates compress well.
        return VideoIndex.unpack, (self.pack(),)

    def pack(self) -> bytes:
        """Return the index as bytes: a line of JSON, then the gaps between its numbers."""
        fields = {item.name: getattr(self, item.name) for item in dataclass_fields(self)}
        fields |= {"pts": len(self.pts), "keys": len(self.keys)}
        fields |= {"time_base": str(self.time_base), "delay": str(self.delay)}
        gaps = [np.diff(item, prepend=0).astype("<i8").tobytes() for item in (self.pts, self.keys)]
        return zlib.compress(b"\n".join([json.dumps(fields).encode(), b"".join(gaps)]), 1)

    @classmethod
    def unpack(cls, packed: bytes) -> VideoIndex:
        """Return the index from the bytes that `pack` returned."""
        header, _, gaps = zlib.decompress(packed).partition(b"\n")
        fields = json.loads(header)
        numbers = np.frombuffer(gaps, "<i8").astype(np.int64)
        fields["pts"], fields["keys"] = map(np.cumsum, np.split(numbers, [fields["pts"]]))
        fields |= {name: Fraction(fields[name]) for name in ("time_base", "delay")}
        return cls(**fields)


def empty_index() -> VideoIndex:
    """Return the index of a video that cannot be read."""
    nothing = np.zeros(0, np.int64)
    return VideoIndex(nothing, nothing, Fraction(1), 0, 0, 0, "none", 8, "limited")


def assumed_range(pixel_format: str, bits: int, tag: int, codec: str) -> PixelRange:
    """Return the assumed range of luma values.

    A tag in the file decides. Without a tag, YUV is limited, as in broadcast and nearly every
    encoder, and RGB and plain grey are full. Values of more than 8 bits are always full.

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
    """Return the index of a video, from its packets' time stamps; demuxing only.

    If packets carry no time stamps (raw streams, some AVI files), the video is decoded once, and
    its index has no key frames: such a file is always read from its beginning.

    Raises
    ------
    InputError
        If the file is not a video, or holds no frames.
    """
    import av

    try:
        with open_video(path) as container:
            stream = video_stream(path, container)
            position = container.streams.video.index(stream)
            packets = read_packets(path, container, stream)
            kind = container.format.name
            count = stream.frames
            check_count(path, kind, position, packets, count)
            check_container(path, kind, stream, packets)
            end = stated_end(container, stream)
            guessed = are_guessed(kind, stream.codec_context.name, packets)
            misled = not guessed and mislead(path, stream, packets)
            if counted := guessed or misled:
                stamps = counted_stamps(path, kind, position, packets)
                packets = replace(packets, mislabelled=misled, **stamps)
            picture = _picture(stream.codec_context)
            _check_values(path, picture["pixel_format"], picture["bits"])
            picture |= {"stream": position, "streams": len(films(container))}
            if "mp4" in kind:
                picture["mirrored"] = mirrored_track(path, stream.id)
            time_base = stream.time_base or Fraction(1, 1)
            zero = container.start_time
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path} cannot be read as a video: {_reason(error)}; replace it or remove its clips."
        ) from None
    if not packets:
        raise InputError(f"{path} holds no frames; replace it or remove its clips.")
    index = _index(path, packets, time_base, picture, counted=counted)
    if not counted:
        index = replace(index, delay=_delay(index, packets, zero))
    check_end(path, kind, index, *end)
    check_middle(path, kind, packets, index, count)
    if index.keys[:1].any():
        index = _from_first_shown(path, index)
    # In ASF, a damaged time stamp moves a frame and renumbers those after it.
    moved = kind == "asf" and not index.in_order
    return replace(index, keys=index.keys[:1]) if kind in UNINDEXED or moved else index


def _from_first_shown(path: Path, index: VideoIndex) -> VideoIndex:
    """Drop frames before the first key frame that depend on frames before the file begins."""
    shown = first_shown(path, index.stream)
    lost = 0 if shown is None else int(np.searchsorted(index.pts[: index.keys[0]], shown))
    if not lost:
        return index
    delay = index.delay + int(index.pts[lost] - index.pts[0]) * index.time_base
    keys = index.keys - lost
    return replace(index, pts=index.pts[lost:], keys=keys, delay=delay, mislabelled=True)


def _delay(index: VideoIndex, packets: Packets, zero: int | None) -> Fraction:
    """Return the seconds from a file's beginning (`zero`, in microseconds) to its first frame.

    If a format stores only decoding times, the first frame has the first of them, because FFmpeg
    adds the decoder's delay.
    """
    if zero is None:
        return Fraction(0)
    first = packets.dts[0] if packets.dts else NO_STAMP
    first = int(index.pts[0]) if first == NO_STAMP else first
    delay = first * index.time_base - Fraction(zero, 1_000_000)
    # FFmpeg rounds the beginning to microseconds.
    return delay if delay > Fraction(1, 1_000_000) else Fraction(0)


def _index(
    path: Path, packets: Packets, time_base: Fraction, picture: dict[str, Any], *, counted: bool
) -> VideoIndex:
    stamps = numbers(packets.pts)
    order = np.argsort(stamps, kind="stable")
    pts = stamps[order]
    gaps = np.diff(pts)
    if len(gaps) and not gaps.min():
        twice = int(pts[np.argmin(gaps)])
        raise InputError(
            f"{path}: two frames have the time stamp {float(twice * time_base):.3f} s, so "
            "frames cannot be told apart; re-encode the video."
        )
    last = packets.last or (int(np.median(gaps)) if len(gaps) else 1)
    keys = np.flatnonzero(np.frombuffer(packets.keys, np.uint8)[order])
    if not len(keys) and not counted:
        keys = np.zeros(1, np.int64)
    end = int(pts[-1]) + last
    picture |= {"mislabelled": packets.mislabelled, "in_order": in_order(stamps)}
    return VideoIndex(pts, keys, time_base, end, **picture)


def _picture(context: Any) -> dict[str, Any]:
    import av

    name = context.pix_fmt or ""
    bits = av.VideoFormat(name).components[0].bits if name else 8
    tag = int(context.color_range or 0)
    return {
        "width": context.width,
        "height": context.height,
        "pixel_format": name,
        "bits": bits,
        "pixel_range": assumed_range(name, bits, tag, context.name),
        "palette": name == "pal8" and tag != FULL_RANGE_TAG,
    }


def _check_values(path: Path, pixel_format: str, bits: int) -> None:
    """Refuse grey values that are floats or of 32 bits: no file states their white level."""
    if pixel_format.startswith(("gray", "ya")) and (bits > 16 or "f16" in pixel_format):
        raise InputError(
            f"{path} is {pixel_format}, but grey values may have at most 16 bits; convert it to "
            "gray16le."
        )


def _reason(error: Exception) -> str:
    """Return FFmpeg's message without the number and path that Python adds."""
    return str(getattr(error, "strerror", None) or error)
