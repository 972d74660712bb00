"""Compute time stamps that a file does not state: decode and count its frames."""

from __future__ import annotations

from array import array
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from pipeline.video.completeness import WIDE_GAP
from pipeline.video.opening import open_video
from pipeline.video.packets import NO_STAMP, UNORDERED, Packets, numbers

# FFmpeg guesses the display order of these wrongly if a format does not state it.
REORDERED = ("h264", "hevc")
# Raw streams: if pictures are lost, the others cannot be counted.
RAW = ("h264", "hevc", "vvc", "mpegvideo", "m4v", "h263", "vc1", "obu", "mjpeg")
# Decoders of other codecs conceal missing data unmarked, unless they must stop at damage.
MARK_DAMAGE = ("h264", "mpeg1video", "mpeg2video", "mpeg4")
STRICT = "crccheck+bitstream+buffer+explode"
# Frames to inspect in a file with time stamps that may be decoding times.
PROBED = 32


def are_guessed(kind: str, codec: str, packets: Packets) -> bool:
    """Tell whether the packets' time stamps may be guesses, because the format states none."""
    return not packets.stamped or kind in RAW or (kind in UNORDERED and codec in REORDERED)


def mislead(path: Path, stream: Any, packets: Packets) -> bool:
    """Tell whether the time stamps in a file are not the display times of its frames."""
    doubtful = stream.codec_context.has_b_frames and in_order(numbers(packets.pts))
    return packets.packed or (doubtful and not _shows_in_order(path, stream.index))


def in_order(stamps: NDArray[np.int64]) -> bool:
    """Tell whether time stamps are strictly ascending."""
    return bool((np.diff(stamps) > 0).all())


def _shows_in_order(path: Path, index: int) -> bool:
    """Tell whether the decoder returns the first frames of a stream in packet order.

    If packets are in order but frames are not, the time stamps are decoding times.
    """
    import av

    shown: list[int | None] = []
    with open_video(path) as container, suppress(av.FFmpegError):
        stream = container.streams[index]
        stream.codec_context.thread_count = 1
        shown.extend(frame.pts for frame in islice(container.decode(stream), PROBED))
    return None not in shown and in_order(np.array(shown, np.int64))


def first_shown(path: Path, position: int) -> int | None:
    """Return the time stamp of the first frame that a decoder returns; None without a frame."""
    import av

    with open_video(path) as container, suppress(av.FFmpegError):
        stream = container.streams.video[position]
        stream.codec_context.thread_count = 1
        return next((frame.pts for frame in container.decode(stream)), None)
    return None


def counted_stamps(path: Path, kind: str, position: int, packets: Packets) -> dict[str, Any]:
    """Return the time stamps and key frames from counting frames, to replace those of packets.

    Raises
    ------
    InputError
        If a frame does not decode, or the times of the frames cannot be determined.
    """
    import av

    with open_video(path) as container:
        stream = container.streams.video[position]
        be_strict(stream.codec_context, seeks=False)
        rate = stream.average_rate or Fraction(1)
        tick = max(1, round(1 / (rate * (stream.time_base or 1 / rate))))
        count = 0
        with suppress(av.FFmpegError):
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    break
                count += 1
            else:
                return _counted(path, kind, packets, count, tick)
    raise InputError(
        f"{path} is damaged at frame {count}, so later frames cannot be counted; replace it or "
        "remove its clips."
    )


def _counted(path: Path, kind: str, packets: Packets, count: int, tick: int) -> dict[str, Any]:
    """Return the times of counted frames: sorted decoding times, or those of a steady rate."""
    # FFmpeg invents the times of raw streams.
    stamps = np.unique(numbers(packets.dts or packets.pts)) if kind not in RAW else np.zeros(0)
    gaps = np.diff(stamps)
    steady = not len(gaps[1:]) or bool(gaps[1:].max() <= WIDE_GAP * np.median(gaps))
    if len(stamps) == count and stamps[0] != NO_STAMP:
        if steady and gaps[:1].sum() > WIDE_GAP * np.median(gaps):
            # The wide gap after the first frame is the decoder's delay, not the camera's.
            stamps[0] = stamps[1] - int(np.median(gaps))
        times = array("q", stamps.astype(np.int64).tolist())
    elif packets.packed and not (steady and abs(len(packets) - count) <= 1):
        raise InputError(
            f"{path}: its packets hold several frames each (packed B-frames) and its rate is "
            "not steady, so the times of its frames are unknown; re-encode the video."
        )
    else:
        times = array("q", range(0, count * tick, tick))
    # No key frames, because no seek finds a frame by its number.
    return {"pts": times, "last": tick, "keys": bytearray(count)}


def be_strict(context: Any, *, seeks: bool) -> None:
    """Make a decoder mark damage, or stop at it.

    After a seek, a decoder that marks damage must not stop at frames that depend on frames before
    the seek, because these are not used.
    """
    # With frame threads, FFmpeg may return a damaged frame before marking it.
    context.thread_count = 1
    if not seeks or context.name not in MARK_DAMAGE:
        context.options = {"err_detect": STRICT}
