"""Small videos with known pixels, and tables that annotate them."""

import csv
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.video.decode import decode
from pipeline.video.index import VideoIndex

LOSSLESS = {"qp": "0", "preset": "ultrafast"}
# Two B-frames before every other frame; x264 has none where it codes without loss.
B_FRAMES = "bframes=2:b-adapt=0:scenecut=0"
GOP_8 = {"g": "8", "qp": "1", "preset": "medium", "x264-params": B_FRAMES}


def textured(frames: int, height: int = 48, width: int = 64, *, seed: int = 0) -> np.ndarray:
    """Luma pictures that all differ: noise around a level of the frame's own, within 16..235."""
    rng = np.random.default_rng(seed)
    levels = 40 + np.arange(frames) * 150 // max(1, frames)
    noise = rng.integers(-20, 21, (frames, height, width))
    return (levels[:, None, None] + noise).astype(np.uint8)


def write_video(
    path: Path,
    pictures: np.ndarray,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int | Fraction = 30,
    options: dict[str, str] | None = None,
    times: list[int] | None = None,
    color_range: int = 0,
    rotation: int = 0,
    container: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Encode luma (n, h, w) or RGB (n, h, w, 3) pictures, losslessly in h264 and ffv1.

    `times` are the frames' time stamps in milliseconds; without them the rate is constant.
    `rotation` is how many degrees players turn the picture against the clock.
    """
    options = {**(LOSSLESS if codec == "libx264" else {}), **(options or {})}
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=rate, options=options)
        output.metadata.update(metadata or {})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pixel_format
        tick = 1 / Fraction(rate) if times is None else Fraction(1, 1000)
        stream.codec_context.time_base = tick
        if color_range:
            stream.codec_context.color_range = color_range
        if rotation:
            stream.set_display_rotation(rotation)
        for number, pixels in enumerate(pictures):
            frame = video_frame(pixels, pixel_format)
            frame.pts = number if times is None else times[number]
            frame.time_base = tick
            if color_range:
                frame.color_range = color_range
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def video_frame(pixels: np.ndarray, pixel_format: str) -> av.VideoFrame:
    """Make a frame of luma with neutral chroma, or of RGB converted by FFmpeg."""
    if pixels.ndim == 3:
        return av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=pixel_format)
    frame = av.VideoFrame(pixels.shape[1], pixels.shape[0], pixel_format)
    neutral = 2 ** (frame.format.components[0].bits - 1)
    for number, plane in enumerate(frame.planes):
        values = np.full((plane.height, plane.width), neutral, pixels.dtype)
        if number == 0:
            values = pixels
        padded = np.zeros((plane.height, plane.line_size // pixels.itemsize), pixels.dtype)
        padded[:, : values.shape[1]] = values
        plane.update(padded.tobytes())
    return frame


def write_images(folder: Path, pictures: np.ndarray, suffix: str = ".png") -> Path:
    """Write numbered images: grey of 8 or 16 bits, or RGB."""
    folder.mkdir(parents=True)
    for number, pixels in enumerate(pictures, start=1):
        path = folder / f"frame_{number:04d}{suffix}"
        path.write_bytes(encoded_image(pixels, suffix))
    return folder


def encoded_image(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """Return the bytes of a PNG or JPEG file."""
    plain = "rgb24" if pixels.ndim == 3 else "gray" if pixels.dtype == np.uint8 else "gray16le"
    codec, wanted = (("mjpeg", "yuvj420p"), ("png", plain.replace("le", "be")))[suffix == ".png"]
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = pixels.shape[:2]
    context.pix_fmt, context.time_base = wanted, Fraction(1, 30)
    frame = av.VideoFrame.from_ndarray(pixels, plain).reformat(format=wanted)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as a CSV file with a header."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def luma(path: Path, index: VideoIndex, frames: list[int]) -> dict[int, np.ndarray]:
    """Decode luma of some frames, by number."""
    return dict(decode(path, index, np.array(frames), "luma"))


def off(picture: np.ndarray, expected: np.ndarray) -> float:
    """Mean difference: 0 to 2 for the same frame, 4 and more for a neighbour."""
    return float(np.abs(picture.astype(int) - expected).mean())
