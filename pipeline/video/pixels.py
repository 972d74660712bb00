"""Convert decoded frames to luma or RGB pixels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.video.index import VideoIndex
from pipeline.video.modes import PixelMode
from pipeline.video.orientation import quarter_turns, upright

Scale = tuple[int, int]

Picture = NDArray[np.uint8] | NDArray[np.uint16]
# Formats of more than 8 bits that store values in the high bits, or interleave the channels.
# FFmpeg moves their luma into a separate plane; no value changes.
REPACKED = re.compile(r"(p[024]1[02]|.+msb|y21[026]|xv(30|36|48)|v30x|ayuv64|ya16|xyz12)[lb]e")
# FFmpeg 8 converts these to RGB as if their bytes were swapped.
EXCHANGED = re.compile(r"((rgb|bgr)5[56]5)be")


class Converter:
    """Convert the frames of one video to pixels.

    Setting up FFmpeg's conversion costs more than a small picture, so it is reused for all frames.

    Parameters
    ----------
    mode : {"luma", "rgb"}
        ``luma`` is the Y plane as stored, or FFmpeg's grey picture if the format has no such
        plane. ``rgb`` is FFmpeg's conversion, which expands the stated range.
    index : VideoIndex
        States whether pictures are mirrored.
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
        if exchanged := EXCHANGED.fullmatch(frame.format.name):
            frame = self._reformatter.reformat(frame, format=f"{exchanged[1]}le")
            rgb = frame.reformat(format="rgb24")
        else:
            rgb = self._reformatter.reformat(frame, format="rgb24")
        return np.asarray(rgb.to_ndarray(), np.uint8)

    def _luma(self, frame: Any) -> Picture:
        if has_luma_plane(frame.format):
            return _first_plane(frame)
        return _first_plane(self._reformatter.reformat(frame, format=_luma_format(frame.format)))


def is_repacked(pixel_format: str, mode: PixelMode) -> bool:
    """Tell whether FFmpeg first repacks pixels into another format, with the same values.

    Examples
    --------
    >>> is_repacked("p010le", "luma"), is_repacked("p010le", "rgb"), is_repacked("nv12", "luma")
    (True, False, False)
    """
    return bool((REPACKED if mode == "luma" else EXCHANGED).fullmatch(pixel_format))


def _luma_format(pixel_format: Any) -> str:
    """Return the format to convert to, so that its first plane is the luma."""
    bits = pixel_format.components[0].bits
    # RGB, palettes and XYZ become full-range grey.
    if pixel_format.is_rgb or pixel_format.has_palette or pixel_format.name.startswith("xyz"):
        return "gray"
    if bits <= 8:
        return "yuv444p"
    return "gray16le" if pixel_format.name.startswith("ya") else f"yuv444p{bits}le"


def _first_plane(frame: Any) -> Picture:
    bits = frame.format.components[0].bits
    plane = frame.planes[0]
    dtype = np.dtype("u1" if bits <= 8 else ">u2" if frame.format.is_big_endian else "<u2")
    rows: Picture = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
    # Copy, because the decoder reuses its buffer.
    return rows[: frame.height, : frame.width].astype(dtype.newbyteorder("="), copy=True)


def has_luma_plane(pixel_format: Any) -> bool:
    """Tell whether a format's first plane is unpacked luma: planar YUV, NV12 or grey."""
    return not (pixel_format.is_rgb or REPACKED.fullmatch(pixel_format.name)) and (
        pixel_format.name.startswith("gray")
        or (pixel_format.is_planar and len(pixel_format.components) >= 3)
    )


def value_scale(index: VideoIndex, mode: PixelMode, dtype: Any) -> Scale:
    """Return (offset, span): a pixel ``v`` means ``(v - offset) / span``, clipped to 0..1.

    Limited luma is 16 to 235; full values are divided by the largest value of their bits. FFmpeg
    returns full-range RGB.
    """
    if mode == "luma" and dtype == np.uint16:
        return 0, 2**index.bits - 1
    return (16, 219) if mode == "luma" and index.pixel_range == "limited" else (0, 255)
