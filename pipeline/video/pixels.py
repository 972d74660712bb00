"""The pixels of decoded frames."""

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
# Formats that keep values at the high end of 16 bits, or the channels of a pixel together, in more
# than 8 bits. FFmpeg moves their luma into a plane of its own; no value changes.
REPACKED = re.compile(r"(p[024]1[02]|.+msb|y21[026]|xv(30|36|48)|v30x|ayuv64|ya16|xyz12)[lb]e")
# FFmpeg 8 makes RGB of these as if their bytes were exchanged.
EXCHANGED = re.compile(r"((rgb|bgr)5[56]5)be")


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
    """Tell whether pixels are taken from another format, with the same values.

    Examples
    --------
    >>> is_repacked("p010le", "luma"), is_repacked("p010le", "rgb"), is_repacked("nv12", "luma")
    (True, False, False)
    """
    return bool((REPACKED if mode == "luma" else EXCHANGED).fullmatch(pixel_format))


def _luma_format(pixel_format: Any) -> str:
    """Return the format whose first plane is the luma of a format that has no such plane."""
    bits = pixel_format.components[0].bits
    # RGB, also of a palette, and XYZ become grey in full range.
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
    # A copy, for the decoder reuses its buffer.
    return rows[: frame.height, : frame.width].astype(dtype.newbyteorder("="), copy=True)


def has_luma_plane(pixel_format: Any) -> bool:
    """Tell whether a format's first plane is luma as it is: planar YUV, NV12 or grey."""
    return not (pixel_format.is_rgb or REPACKED.fullmatch(pixel_format.name)) and (
        pixel_format.name.startswith("gray")
        or (pixel_format.is_planar and len(pixel_format.components) >= 3)
    )


def value_scale(index: VideoIndex, mode: PixelMode, dtype: Any) -> Scale:
    """Return (offset, span): a pixel ``v`` stands for ``(v - offset) / span``, clipped to 0..1.

    Limited luma is 16 to 235; full values divide by the largest that their bits allow. RGB comes
    from FFmpeg in full range.
    """
    if mode == "luma" and dtype == np.uint16:
        return 0, 2**index.bits - 1
    return (16, 219) if mode == "luma" and index.pixel_range == "limited" else (0, 255)
