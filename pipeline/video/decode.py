"""Decode frames of a video in order, and check each against the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.video.completeness import MOST_REORDERED
from pipeline.video.errors import DecodeError
from pipeline.video.image_decode import image_frames
from pipeline.video.index import VideoIndex
from pipeline.video.journal import noted
from pipeline.video.modes import PixelMode
from pipeline.video.opening import open_video
from pipeline.video.orientation import is_mirrored, quarter_turns
from pipeline.video.pixels import Converter, Picture
from pipeline.video.stamps import be_strict

if TYPE_CHECKING:
    from torch import Tensor

Decode = Callable[
    [Path, VideoIndex, NDArray[np.int64], PixelMode], "Iterator[tuple[int, Picture | Tensor]]"
]
# Only these decoders can skip the frame of a given packet; others skip a different one.
CAN_SKIP = ("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4")
# A disk that lost a block returns zeros. The data of these codecs never hold this many zeros in a
# row, except as padding in streams without lengths.
DENSE = ("h264", "hevc", "vp8", "libdav1d", "vp9", "av1")
WITHOUT_LENGTHS = ("mpeg", "mpegts")
ZEROS = bytes(64)


@dataclass(frozen=True, slots=True)
class Lost:
    """Frames that do not decode.

    Attributes
    ----------
    frames : list of int
    reason : str
        Error of the first lost frame; contains no path.
    """

    frames: list[int]
    reason: str


def decode(
    path: Path,
    index: VideoIndex,
    frames: NDArray[np.int64],
    mode: PixelMode,
    *,
    tally: Callable[[], None] | None = None,
) -> Iterator[tuple[int, Picture]]:
    """Yield frames of one video in ascending order.

    Parameters
    ----------
    path : Path
        A video or a folder of numbered images.
    index : VideoIndex
    frames : ndarray of int64
        Ascending, each once.
    mode : {"luma", "rgb"}
    tally : callable, optional
        Called for every decoded frame, requested or not.

    Yields
    ------
    frame : int
    picture : ndarray of uint8 or uint16, shape (height, width) or (height, width, 3)
        Upright. Luma as stored, RGB in 0..255.

    Raises
    ------
    DecodeError
        If a frame is missing, corrupt, or at another position than in the index.
    """
    import av

    requested = map(int, frames)
    due, before = next(requested), -1
    pixels = Converter(mode, index)
    decoded = image_frames(path, index, frames) if path.is_dir() else _frames(path, index, frames)
    try:
        for number, frame, damaged in noted(path, due, _judged(decoded)):
            if tally is not None:
                tally()
            if number <= before:
                raise DecodeError(path, due, f"frame {number} came after frame {before}")
            before = number
            if number < due:
                continue
            if number > due or damaged:
                reason = "its data are corrupt" if number == due else f"frame {number} came instead"
                raise DecodeError(path, due, reason)
            _check_orientation(path, number, frame, index)
            yield number, pixels.picture(frame)
            if (following := next(requested, None)) is None:
                return
            due = following
    except MemoryError:
        raise DecodeError(path, due, "it takes more memory than there is") from None
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(path, due, str(getattr(error, "strerror", None) or error)) from None
    raise DecodeError(path, due, "the video ended before it")


def decode_all(
    path: Path,
    index: VideoIndex,
    frames: NDArray[np.int64],
    mode: PixelMode,
    decoding: Decode = decode,
) -> Iterator[tuple[int, Picture | Tensor] | Lost]:
    """Yield frames as `decoding` does, and a `Lost` where a frame does not decode.

    All frames up to the next key frame are lost too, because they are predicted from that frame.
    """
    while len(frames):
        done = 0
        try:
            for item in decoding(path, index, frames, mode):
                yield item
                done += 1
        except DecodeError as error:
            frames = frames[done:]
            later = index.keys[index.keys > frames[0]]
            alone = path.is_dir() or not len(index.keys)
            resume = frames[0] + 1 if alone else later[0] if len(later) else len(index)
            yield Lost(frames[frames < resume].tolist(), error.reason)
            frames = frames[frames >= resume]
        else:
            return


def _check_orientation(path: Path, number: int, frame: Any, index: VideoIndex) -> None:
    """Refuse a frame that is not rotated by quarter turns, or mirrored unlike the index."""
    if quarter_turns(frame.rotation) is None:
        degrees = -frame.rotation % 360
        raise DecodeError(path, number, f"it is rotated by {degrees} degrees; store it upright")
    if is_mirrored(frame) not in (None, index.mirrored):
        either = ("mirrored", "not mirrored")[index.mirrored]
        raise DecodeError(
            path, number, f"it is {either}, unlike the video's header; store it upright"
        )


def _judged(decoded: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any, bool]]:
    """Yield (frame number, decoded frame, whether the frame may be damaged).

    FFmpeg marks corrupt frames, but not the frames that are predicted from them: those up to the
    next key frame, and the B-frames just before. The B-frames are therefore held back.
    """
    from av.video.frame import PictureType

    damaged = False
    waiting: list[tuple[int, Any, bool]] = []
    for number, frame in decoded:
        damaged = frame.is_corrupt or (damaged and not frame.key_frame)
        waiting.append((number, frame, damaged))
        if frame.pict_type != PictureType.B:
            yield from ((earlier, held, bad or frame.is_corrupt) for earlier, held, bad in waiting)
            waiting = []
        elif len(waiting) > MOST_REORDERED:
            yield waiting.pop(0)
    yield from waiting


def _frames(path: Path, index: VideoIndex, frames: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
    """Yield (frame number, decoded frame) from a key frame at or before the first of `frames`.

    Frames that are not requested, and that no other frame depends on, may be skipped.

    Some containers seek by decoding time, which is before the time stamp, so a seek may land after
    the requested key frame. With gradual refresh, pictures are complete only some frames later.
    In these cases, and where the decoder finds no key frame, start from earlier key frames, and
    finally from the beginning.
    """
    import av

    first = int(frames[0])
    requested = index.pts[frames]
    keys = index.keys[: np.searchsorted(index.keys, first, "right")]
    starts = [int(index.pts[keys[-back]]) for back in (1, 2, 4, 8) if back < len(keys)]
    for start in (*starts, None):
        with open_video(path) as container:
            stream = container.streams.video[index.stream]
            be_strict(stream.codec_context, seeks=len(index.keys) > 1)
            if not len(index.keys):
                yield from enumerate(container.decode(stream))
                return
            numbered = _numbered(path, container, index, start, first, requested)
            if start is None:
                yield from numbered
                return
            head = None
            with suppress(DecodeError, av.FFmpegError):
                head = next(numbered, None)
            if head is not None and head[0] <= first:
                yield head
                yield from numbered
                return


def _numbered(
    path: Path,
    container: Any,
    index: VideoIndex,
    start: int | None,
    first: int,
    requested: NDArray[np.int64],
) -> Iterator[tuple[int, Any]]:
    """Yield decoded frames from the key frame with time stamp `start`, if a seek reaches it.

    Frame numbers come from time stamps; counting would be wrong after a seek.
    """
    stream = container.streams.video[index.stream]
    codec = stream.codec_context.name
    # Time stamps may be decoding times: check the order frame by frame.
    doubtful = index.in_order and stream.codec_context.has_b_frames
    skips = codec in CAN_SKIP and not doubtful
    dense = codec in DENSE and container.format.name not in WITHOUT_LENGTHS
    if start is not None:
        container.seek(start, stream=stream)
    key = _position(index.pts, start)
    reached = proven = start is None
    before = -1
    for packet in container.demux(stream):
        if not reached:
            if packet.pts is None or packet.pts > start:
                return
            reached = packet.pts == start
        if skips:
            asked = _position(requested, packet.pts) >= 0
            stream.codec_context.skip_frame = "DEFAULT" if asked else "NONREF"
        for frame in _decoded(packet, start, dense):
            number = _position(index.pts, frame.pts)
            if number < 0:
                raise DecodeError(path, first, f"time stamp {frame.pts} is not indexed")
            if doubtful and before >= 0 and number != before + 1:
                raise DecodeError(path, first, f"frame {number} came after frame {before}")
            before = number
            if not proven and number < key:
                continue
            if not proven and not (number == key and frame.key_frame) and codec != "h264":
                return
            proven = True
            yield number, frame


def _position(stamps: NDArray[np.int64], pts: int | None) -> int:
    """Return the position of a time stamp among ascending ones; -1 if it is not there or None."""
    position = -1 if pts is None else int(stamps.searchsorted(pts))
    return position if 0 <= position < len(stamps) and stamps[position] == pts else -1


def _decoded(packet: Any, start: int | None, dense: bool) -> Iterator[Any]:
    """Yield the frames that the decoder returns for a packet after a seek to `start`."""
    import av

    try:
        if dense and ZEROS in bytes(packet):
            raise av.InvalidDataError(0, "zeros stand in for part of its data")
        yield from packet.decode()
    except av.FFmpegError:
        # Frames shown before the key frame may be predicted from frames before the seek.
        if start is None or packet.pts is None or packet.pts >= start:
            # Flush the frames that were decoded before the damage.
            yield from packet.stream.codec_context.decode(None)
            raise
