"""Encode a combination, read it as featstore does, and compare with the ffmpeg program."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from shutil import copyfile

import av
import imageio_ffmpeg
import numpy as np

from featstore.errors import InputError
from pipeline.video.decode import decode
from pipeline.video.index import VideoIndex, read_index
from tests.pipeline.video.codings import CODINGS, CONTAINERS
from tests.pipeline.video.combinations import (
    BEHIND,
    COPIED,
    EQUAL,
    EVERY,
    NONE,
    OF_DECODING,
    RECIPES,
    SHIFTED,
    Combination,
)

FRAMES, HEIGHT, WIDTH, RATE = 30, 48, 64, 25
TS_PACKET = 188
FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-bitexact"]
RAW = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", f"{RATE}"]
# What these commands wrote once: libxvid does not always write the same bytes, or intact ones.
XVID = Path(__file__).with_name("xvid")
# Asked for apart: the ends, places around key frames, and lower rates.
SUBSETS = [[29], [0], [13], [11, 12], [4, 23], [7, 8, 26], [*range(0, 30, 2)], [*range(3, 30, 7)]]


def moving(frames: int = FRAMES) -> bytes:
    """Return raw pictures that move and brighten, so that each needs the one before it."""
    rng = np.random.default_rng(0)
    wide = rng.integers(-40, 41, (HEIGHT // 4, (WIDTH + 2 * frames + 3) // 4)).repeat(4, 0)
    wide = wide.repeat(4, 1)
    neutral = bytes([128]) * (HEIGHT * WIDTH // 2)
    pictures = (60 + 4 * n + wide[:, 2 * n : 2 * n + WIDTH] for n in range(frames))
    return b"".join(np.clip(p, 16, 235).astype(np.uint8).tobytes() + neutral for p in pictures)


class Files:
    """Files of combinations, each encoded once, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "raw").write_bytes(moving())
        self._encoded = cache(self._encode)

    def path(self, combination: Combination) -> Path:
        """Return the file of a combination."""
        paths = self._encoded(combination.coding)
        if not combination.fault:
            return paths[combination.container]
        path = paths["avi" if combination.fault == COPIED else combination.container]
        suffix = CONTAINERS[combination.container][0]
        faulty = path.with_name(f"{path.stem}-{combination.fault}.{suffix}".replace(" ", "-"))
        if combination.fault in RECIPES:
            muxing = CONTAINERS[combination.container][1].split()
            copy = ["-i", str(path), "-c", "copy", *muxing, str(faulty)]
            subprocess.run([*FFMPEG, *RECIPES[combination.fault].split(), *copy], check=True)
        elif combination.fault == BEHIND:
            content = path.read_bytes()
            faulty.write_bytes(content[len(content) // 2 // TS_PACKET * TS_PACKET :])
        else:
            relabel(path, faulty, combination)
        return faulty

    def _encode(self, coding: str) -> dict[str, Path]:
        options, containers = CODINGS[coding]
        command = [*FFMPEG, *RAW, "-i", str(self._folder / "raw")]
        paths: dict[str, Path] = {}
        for container in containers.split():
            suffix, muxing = CONTAINERS[container]
            name = f"{coding} {container}".replace(",", "").replace(" ", "-")
            paths[container] = self._folder / f"{name}.{suffix}"
            command += [*options.split(), "-threads", "1", *muxing.split(), str(paths[container])]
        if "libxvid" in options:
            for path in paths.values():
                copyfile(XVID / path.name, path)
        else:
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return paths


def relabel(path: Path, copy: Path, combination: Combination) -> None:
    """Copy a file packet by packet, with other flags or time stamps."""
    muxing = CONTAINERS[combination.container][1].split()
    options = {muxing[0][1:]: muxing[1]} if muxing else {}
    with av.open(str(path)) as source, av.open(str(copy), "w", options=options) as target:
        stream = source.streams.video[0]
        output = target.add_stream_from_template(stream, opaque=True)
        before, number = False, 0
        for packet in source.demux(stream):
            if not packet.size:
                continue
            key = packet.is_keyframe
            flags = {EVERY: True, SHIFTED: before, NONE: False}
            packet.is_keyframe = flags.get(combination.fault, key)
            if combination.fault == OF_DECODING:
                packet.pts = packet.dts = round(number / RATE / packet.time_base)
            number += 1
            packet.stream, before = output, key
            target.mux(packet)


def reference(path: Path, index: VideoIndex, mode: str) -> list[np.ndarray]:
    """Return the pictures that the ffmpeg program shows, read from the beginning, as rows."""
    wanted = "rgb24" if mode == "rgb" else index.pixel_format
    command = [*FFMPEG, "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", wanted, "pipe:1"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    layout = av.VideoFrame(index.width, index.height, wanted)
    size = sum(plane.width * plane.height * _bytes(layout) for plane in layout.planes)
    luma = index.height * index.width * _bytes(layout)
    kind = np.uint8 if _bytes(layout) == 1 else np.uint16
    if mode == "rgb":
        size = luma = 3 * index.width * index.height
    pictures = np.frombuffer(raw, np.uint8).reshape(-1, size)
    return [picture[:luma].view(kind) for picture in pictures]


def _bytes(layout: av.VideoFrame) -> int:
    return layout.format.components[0].bits + 7 >> 3


def times(path: Path) -> np.ndarray:
    """Return the seconds of every frame that the ffmpeg program shows, from the first one on."""
    command = [*FFMPEG, "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    command += ["-enc_time_base", "1:90000", "-f", "framehash", "-hash", "adler32", "pipe:1"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    ticks = [int(line.split(",")[2]) for line in lines if not line.startswith("#")]
    return (np.array(ticks) - ticks[0]) / 90000


def outcome(path: Path) -> str:
    """Return `EQUAL`, a sentence that refuses the file, or what is wrong."""
    try:
        index = read_index(path)
        rgb = any(name in index.pixel_format for name in ("rgb", "bgr", "pal"))
        mode = "rgb" if rgb else "luma"
        count = len(index)
        asked = [[n for n in subset if n < count] or [count - 1] for subset in SUBSETS]
        found = [
            dict(decode(path, index, np.array(frames), mode))
            for frames in ([*range(count)], *asked)
        ]
    except InputError as error:
        return str(error).replace(str(path), "FILE")
    expected = reference(path, index, mode)
    if count != len(expected):
        return f"{count} frames instead of {len(expected)}"
    for pictures in found:
        wrong = [n for n, own in pictures.items() if not np.array_equal(own.ravel(), expected[n])]
        if wrong:
            return f"of frames {list(pictures)}, {wrong} show another picture"
    if not _in_colour(path, index):
        return "RGB has another range"
    return EQUAL if _on_time(path, index) else "frames have other times"


def _in_colour(path: Path, index: VideoIndex) -> bool:
    """Tell whether the last frame in RGB is the one of ffmpeg, but for how it rounds."""
    if "range" not in path.name:
        return True
    [(_, picture)] = decode(path, index, np.array([len(index) - 1]), "rgb")
    expected = reference(path, index, "rgb")[-1].astype(int)
    return int(np.abs(picture.ravel() - expected).max()) <= 3


def _on_time(path: Path, index: VideoIndex) -> bool:
    """Tell whether frames have the times that they were encoded with, or that ffmpeg states."""
    seconds = index.seconds - index.seconds[0]
    encoded = np.arange(len(index)) / RATE
    return _near(seconds, encoded) or _near(seconds, times(path))


def _near(seconds: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(seconds - expected).max() < 0.002)
