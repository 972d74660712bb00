"""The pixels of decoded frames."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.video.index import VideoIndex
from pipeline.video.orientation import quarter_turns, upright

PixelMode = Literal["luma", "rgb"]
Picture = NDArray[np.uint8] | NDArray[np.uint16]


class Converter:
    """Takes the pixels of the frames of one video.

    Setting up FFmpeg's conversion costs more than a small picture, so it is kept from frame to
    frame.

    Parameters
    ----------
    mode : {"luma", "rgb"}
        ``luma`` takes the Y plane as stored, or a grey picture made by FFmpeg where the format
        has none; ``rgb`` is converted by FFmpeg, which expands the range that the file states.
    index : VideoIndex
        Says whether pictures are mirrored.
    """

    def __init__(self, mode: PixelMode, index: VideoIndex) -> None:
        from av.video.reformatter import VideoReformatter

        self._mode, self._mirrored = mode, index.mirrored
        self._reformatter = VideoReformatter()

    def picture(self, frame: Any) -> Picture:
        """Return the pixels of an `av.VideoFrame`, upright."""
        turns = quarter_turns(frame.rotation) or 0
        pixels: Picture = self._luma(frame) if self._mode == "luma" else self._rgb(frame)
        if not turns and not self._mirrored:
            return pixels
        shown: Picture = upright(pixels, turns, mirrored=self._mirrored)
        return shown

    def _rgb(self, frame: Any) -> Picture:
        return np.asarray(self._reformatter.reformat(frame, format="rgb24").to_ndarray(), np.uint8)

    def _luma(self, frame: Any) -> Picture:
        if has_luma_plane(frame.format):
            return _first_plane(frame)
        # Packed YUV keeps its values; RGB, of a palette too, becomes grey in full range.
        grey = "gray" if frame.format.is_rgb or frame.format.has_palette else "yuv444p"
        return _first_plane(self._reformatter.reformat(frame, format=grey))


def _first_plane(frame: Any) -> Picture:
    bits = frame.format.components[0].bits
    plane = frame.planes[0]
    dtype = np.dtype("u1" if bits <= 8 else ">u2" if frame.format.is_big_endian else "<u2")
    rows: Picture = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
    # A copy, for the decoder reuses its buffer.
    return rows[: frame.height, : frame.width].astype(dtype.newbyteorder("="), copy=True)


def has_luma_plane(pixel_format: Any) -> bool:
    """Tell whether a format's first plane is luma alone: planar YUV, NV12 or grey."""
    return not pixel_format.is_rgb and (
        pixel_format.name.startswith("gray")
        or (pixel_format.is_planar and len(pixel_format.components) >= 3)
    )
