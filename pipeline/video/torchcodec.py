"""Decode frames with torchcodec, on the CPU or a GPU, and check each time stamp.

torchcodec does not report damaged frames; docs/decoding.md describes the consequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from pipeline.video.errors import DecodeError
from pipeline.video.index import UNINDEXED, VideoIndex
from pipeline.video.journal import at_work
from pipeline.video.modes import PixelMode
from pipeline.video.opening import file_url, open_video
from pipeline.video.pixels import Picture, is_repacked

if TYPE_CHECKING:
    from torch import Tensor

# Frames are requested in blocks, because each call is expensive; this limits the buffered pixels.
MOST_FRAMES = 32
BLOCK_BYTES = 64 * 2**20


def decode_with_torchcodec(
    path: Path,
    index: VideoIndex,
    frames: NDArray[np.int64],
    mode: PixelMode,
    *,
    device: str,
) -> Iterator[tuple[int, Picture | Tensor]]:
    """Yield frames of one video in ascending order.

    Parameters
    ----------
    path : Path
    index : VideoIndex
    frames : ndarray of int64
        Ascending, each once.
    mode : {"rgb"}
    device : {"cpu", "cuda"}

    Yields
    ------
    frame : int
    picture : ndarray or, on a GPU, Tensor of uint8, shape (height, width, 3)
        Upright, in 0..255.

    Raises
    ------
    DecodeError
        If a frame is missing, at another position than in the index, or known to be corrupt.
    InputError
        If torchcodec cannot read such a video, device or pixel mode.
    """
    if mode != "rgb":
        raise InputError(f"torchcodec returns RGB only; pixels are {mode}. Pass --decoder pyav.")
    _check_kind(path, index)
    video = _Video.open(path, index, device, int(frames[0]))
    most = max(1, min(MOST_FRAMES, BLOCK_BYTES // max(1, 3 * index.width * index.height)))
    for begin in range(0, len(frames), most):
        yield from video.block(frames[begin : begin + most].tolist())


def _check_kind(path: Path, index: VideoIndex) -> None:
    """Refuse a video that torchcodec cannot read, or with frames that cannot be checked."""
    kind = "a folder of images" if path.is_dir() else ""
    if not kind and not len(index.keys):
        kind = "a video without time stamps"
    if not kind and index.mirrored:
        kind = "a video that is shown mirrored"
    if not kind and index.mislabelled:
        kind = "a video with wrongly flagged key frames"
    if not kind and is_repacked(index.pixel_format, "rgb"):
        kind = f"a video of {index.pixel_format}"
    if kind:
        raise InputError(f"{path} is {kind}, which torchcodec cannot read; pass --decoder pyav.")


@dataclass(frozen=True, slots=True)
class _Video:
    """A video that is open in torchcodec."""

    path: Path
    index: VideoIndex
    device: str
    decoder: Any

    @classmethod
    def open(cls, path: Path, index: VideoIndex, device: str, first: int) -> _Video:
        """Open a video; `first` is the first frame that is needed."""
        stream = _stream(path, index.stream, first)
        try:
            decoder = _decoder(path, stream, device)
        except RuntimeError as error:
            if device != "cpu" and _opens(path, stream):
                raise InputError(
                    f"{path} cannot be decoded on {device} ({_reason(error)}); pass --decoder "
                    "torchcodec:cpu or pyav."
                ) from None
            raise DecodeError(path, first, _reason(error)) from None
        if len(decoder) != len(index):
            raise InputError(
                f"{path} has {len(index)} frames, but torchcodec finds {len(decoder)}; "
                "pass --decoder pyav."
            )
        return cls(path, index, device, decoder)

    def block(self, numbers: list[int]) -> Iterator[tuple[int, Picture | Tensor]]:
        """Yield some frames, up to the first that does not decode."""
        from torch import OutOfMemoryError

        try:
            with at_work(self.path, numbers[0]):
                batch = self.decoder.get_frames_at(numbers)
        except OutOfMemoryError:  # not the video's fault
            raise
        except (RuntimeError, IndexError) as error:
            if len(numbers) == 1:
                raise DecodeError(self.path, numbers[0], _reason(error)) from None
            # After an error, a decoder may continue as if no frame were missing.
            fresh = _Video.open(self.path, self.index, self.device, numbers[0])
            for number in numbers:
                yield from fresh.block([number])
            return
        self._check_device()
        ticks = np.rint(batch.pts_seconds.numpy() / float(self.index.time_base)).astype(np.int64)
        for number, tick, pixels in zip(numbers, ticks.tolist(), batch.data, strict=True):
            if tick != self.index.pts[number]:
                raise DecodeError(self.path, number, f"a frame with time stamp {tick} came instead")
            yield number, pixels.numpy() if self.device == "cpu" else pixels

    def _check_device(self) -> None:
        """Refuse frames that the CPU decoded instead of the GPU."""
        if self.device == "cpu":
            return
        status = self.decoder.cpu_fallback
        if status or not status.status_known:
            raise InputError(
                f"{self.path} was not decoded by the GPU ({status}); pass --decoder "
                "torchcodec:cpu or pyav."
            )


def _decoder(path: Path, stream: int, device: str) -> Any:
    """Open a video; read all of its packets, so that frames are counted, not guessed."""
    from torchcodec.decoders import VideoDecoder, set_cuda_backend

    with set_cuda_backend("nvdec"):  # the backend that reports whether it decodes
        return VideoDecoder(
            file_url(path),
            stream_index=stream,
            dimension_order="NHWC",
            num_ffmpeg_threads=1,
            device=device,
            seek_mode="exact",
        )


def _opens(path: Path, stream: int) -> bool:
    """Tell whether a video can be opened on the CPU, without decoding it."""
    try:
        _decoder(path, stream, "cpu")
    except RuntimeError:
        return False
    return True


def _stream(path: Path, position: int, first: int) -> int:
    """Return the number of the indexed video stream among all streams of the file.

    Raises
    ------
    DecodeError
        If the file cannot be opened.
    InputError
        If FFmpeg guesses the time stamps of such files after a seek.
    """
    import av

    try:
        with open_video(path) as container:
            if container.format.name in UNINDEXED:
                raise InputError(
                    f"{path} is an {container.format.long_name}; torchcodec cannot find its frames "
                    "by number. Pass --decoder pyav."
                )
            return int(container.streams.video[position].index)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DecodeError(path, first, str(getattr(error, "strerror", None) or error)) from None


def _reason(error: Exception) -> str:
    """Return the error message without its location in torchcodec's sources."""
    first = str(error).strip().partition("\n")[0]
    return re.sub(r"^\w+, \S+:\d+, ", "", first).rstrip(".")
