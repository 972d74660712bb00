"""Small videos with known pixels, and tables that annotate them."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from pipeline.video.decode import decode
from pipeline.video.index import VideoIndex

LOSSLESS = {"qp": "0", "preset": "ultrafast"}
# Two B-frames before every other frame; x264 has none where it codes without loss.
B_FRAMES = "bframes=2:b-adapt=0:scenecut=0"
GOP_8 = {"g": "8", "qp": "1", "preset": "medium", "x264-params": B_FRAMES}


MPEG = {"qmin": "1", "qmax": "1"}
B_MPEG = MPEG | {"g": "9", "bf": "2"}
CLOSED_MPEG = B_MPEG | {"flags": "+cgop", "sc_threshold": "1000000000"}
OPEN_GOP = GOP_8 | {"x264-params": B_FRAMES + ":open-gop=1"}
PYRAMID = GOP_8 | {"x264-params": "bframes=5:b-pyramid=normal:b-adapt=0:scenecut=0:open-gop=1"}
REFRESHED = {"g": "8", "qp": "1", "preset": "medium", "intra-refresh": "1"}
ONE_KEY = GOP_8 | {"g": "1000", "keyint_min": "1000"}
VP9 = {"lossless": "1", "g": "8", "deadline": "realtime", "cpu-used": "8"}
VP8 = {"crf": "4", "b": "2M", "g": "8", "auto-alt-ref": "1", "lag-in-frames": "10"}
AV1 = {"preset": "12", "crf": "5", "g": "8", "svtav1-params": "lp=1"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def x265(*, open_gop: bool) -> dict[str, str]:
    """Return options of libx265 with B-frames and a key frame every 8 frames."""
    gop = f"keyint=8:min-keyint=8:bframes=3:scenecut=0:open-gop={int(open_gop)}"
    return {"x265-params": f"qp=2:{gop}:log-level=none"}


def _h264(suffix: str, options: dict[str, str] = GOP_8) -> tuple[str, dict[str, Any]]:
    return f"a.{suffix}", {"options": options}


def _coded(suffix: str, codec: str, options: dict[str, str]) -> tuple[str, dict[str, Any]]:
    return f"a.{suffix}", {"codec": codec, "options": options}


# A file name and what `write_video` takes, by what is tried: containers and groups of pictures.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"h264 in {name}": _h264(name) for name in ("mp4", "mov", "mkv", "avi", "flv", "nut", "ts")},
    "h264 in asf": _h264("asf"),
    "h264 in mpeg-ps": _h264("mpg"),
    "h264 alone": _h264("h264"),
    "h264 in fragments": ("a.mp4", {"options": GOP_8, "container": FRAGMENTS}),
    "h264, only key frames": _h264("mp4", {"g": "1"}),
    "h264, key frames every 2": _h264("mp4", GOP_8 | {"g": "2"}),
    **{f"h264, open in {name}": _h264(name, OPEN_GOP) for name in ("mp4", "mkv", "flv", "ts")},
    "h264, open in fragments": ("a.mp4", {"options": OPEN_GOP, "container": FRAGMENTS}),
    "h264, open pyramid in mp4": _h264("mp4", PYRAMID),
    "h264, open pyramid in mkv": _h264("mkv", PYRAMID),
    **{f"h264, refreshed in {name}": _h264(name, REFRESHED) for name in ("mp4", "mkv", "nut")},
    **{f"h264, one key frame in {name}": _h264(name, ONE_KEY) for name in ("mp4", "mkv", "avi")},
    **{
        f"hevc, open in {name}": _coded(name, "libx265", x265(open_gop=True))
        for name in ("mp4", "mkv", "ts", "hevc")
    },
    "hevc, closed in mp4": _coded("mp4", "libx265", x265(open_gop=False)),
    "vp9 in webm": _coded("webm", "libvpx-vp9", VP9),
    "vp8 in webm": _coded("webm", "libvpx", VP8),
    "av1 in webm": _coded("webm", "libsvtav1", AV1),
    "av1 in mp4": _coded("mp4", "libsvtav1", AV1),
    **{
        f"mpeg4, B in {name}": _coded(name, "mpeg4", B_MPEG) for name in ("avi", "mp4", "wmv", "ts")
    },
    "mpeg4 in avi": _coded("avi", "mpeg4", MPEG | {"g": "9"}),
    **{
        f"mpeg2, open in {name}": _coded(name, "mpeg2video", B_MPEG)
        for name in ("mpg", "ts", "mkv", "mp4", "m2v")
    },
    "mpeg2, closed in mpg": _coded("mpg", "mpeg2video", CLOSED_MPEG),
    "mpeg2, closed in mkv": _coded("mkv", "mpeg2video", CLOSED_MPEG),
    "mpeg1 in mpg": _coded("mpg", "mpeg1video", B_MPEG),
    "wmv2 in wmv": _coded("wmv", "wmv2", MPEG | {"g": "9"}),
    "flv1 in flv": _coded("flv", "flv1", MPEG | {"g": "9"}),
    "mjpeg in avi": ("a.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p", "options": MPEG}),
    "ffv1": ("a.mkv", {"codec": "ffv1", "pixel_format": "gray", "options": {"g": "5"}}),
    "variable rate": ("a.mp4", {"options": GOP_8, "times": [i * i * 7 for i in range(30)]}),
}


def textured(frames: int, height: int = 48, width: int = 64, *, seed: int = 0) -> np.ndarray:
    """Luma pictures that all differ: noise around a level of the frame's own, within 16..235."""
    rng = np.random.default_rng(seed)
    levels = 40 + np.arange(frames) * 150 // max(1, frames)
    noise = rng.integers(-20, 21, (frames, height, width))
    return (levels[:, None, None] + noise).astype(np.uint8)


@contextmanager
def same_priority() -> Iterator[None]:
    """Give the thread its scheduling back: for root, SVT-AV1 makes it real-time and leaves it so.

    The thread and all processes that it starts would then keep every other one from computing.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


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
    with same_priority(), av.open(str(path), "w", options=container or {}) as output:
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


def write_classes(folder: Path, classes: Sequence[str] = ("wave", "clap"), people: int = 5) -> Path:
    """Write a folder for each class, with a short video of each person."""
    for number, (label, who) in enumerate(product(classes, range(people))):
        path = folder / f"{label}/person{who}_{label}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, textured(12, seed=number))
    return folder


def write_late(path: Path, pictures: np.ndarray, delay: float, *, rate: int = 25) -> Path:
    """Encode pictures that begin `delay` seconds after their file, whose sound begins at 0."""
    with av.open(str(path), "w") as output:
        sound = output.add_stream("mp2", rate=48000)
        stream = output.add_stream("libx264", rate=rate, options=LOSSLESS)
        stream.height, stream.width = pictures.shape[1:]
        stream.pix_fmt = "yuv420p"
        for number in range(int(48000 * (delay + 1)) // 1152):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), "s16", "stereo")
            samples.sample_rate, samples.pts = 48000, number * 1152
            output.mux(sound.encode(samples))
        output.mux(sound.encode(None))
        for number, pixels in enumerate(pictures):
            frame = video_frame(pixels, "yuv420p")
            frame.pts = number + round(delay * rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_streams(
    path: Path, parts: Sequence[np.ndarray], marks: Sequence[Disposition], codec: str = "ffv1"
) -> Path:
    """Encode pictures, without loss, into a video stream for each part, with its disposition."""
    options = LOSSLESS if codec == "libx264" else {}
    with av.open(str(path), "w") as output:
        streams = []
        for pictures, mark in zip(parts, marks, strict=True):
            stream = output.add_stream(codec, rate=30, options=options)
            stream.height, stream.width = pictures.shape[1:]
            stream.pix_fmt, stream.disposition = "yuv420p", mark
            streams.append(stream)
        for stream, pictures in zip(streams, parts, strict=True):
            for number, pixels in enumerate(pictures):
                frame = video_frame(pixels, "yuv420p")
                frame.pts = number
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


def write_two_sizes(path: Path, parts: tuple[np.ndarray, np.ndarray], codec: str) -> Path:
    """Encode pictures of one size and then of another into one stream."""
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = {"libx264": LOSSLESS, "mjpeg": MPEG, "libvpx-vp9": VP9}[codec]
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=30, options=options)
        stream.height, stream.width = parts[0].shape[1:]
        stream.pix_fmt = pixel_format
        for part, pictures in enumerate(parts):
            context = av.CodecContext.create(codec, "w")
            context.height, context.width = pictures.shape[1:]
            context.pix_fmt, context.time_base, context.options = (
                pixel_format,
                Fraction(1, 30),
                options,
            )
            packets = []
            for number, pixels in enumerate(pictures):
                frame = video_frame(pixels, pixel_format)
                frame.pts, frame.time_base = number, Fraction(1, 30)
                packets += context.encode(frame)
            for packet in [*packets, *context.encode(None)]:
                packet.pts += part * len(parts[0])
                packet.dts += part * len(parts[0])
                packet.stream, packet.time_base = stream, Fraction(1, 30)
                output.mux(packet)
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
