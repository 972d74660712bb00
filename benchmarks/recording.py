"""A synthetic infrared recording and its annotation, for the benchmark of the first stage."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, RATE = 512, 424, 30
# Drawn and encoded once, then repeated by copying packets: 2.5 minutes, whole key-frame intervals
# of 12, 30 and 250 frames.
DRAWN = 4500
CLIP_SECONDS = 3
NOISE = 2.5  # standard deviation in grey levels, of a pixel
# What ffmpeg does where nobody says otherwise: three B-frames, three references, CRF 23.
ENCODER = {"preset": "medium", "crf": "23"}


def smooth(rng: np.random.Generator, height: int, width: int, scale: int) -> NDArray[np.float32]:
    """Return a smooth random texture of mean 0 and std 1."""
    coarse = rng.standard_normal((height // scale + 3, width // scale + 3)).astype(np.float32)
    for axis, length in ((0, height), (1, width)):
        places = np.arange(length) / scale
        whole = places.astype(int)
        part = (places - whole).astype(np.float32)
        part = part[:, None] if axis == 0 else part[None]
        coarse = coarse.take(whole, axis) * (1 - part) + coarse.take(whole + 1, axis) * part
    return (coarse - coarse.mean()) / coarse.std()


def sprite(rng: np.random.Generator, height: int, width: int, level: float) -> Any:
    """Return (pixels, soft mask) of something textured, oval and warm."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    mask = np.clip((1 - x * x - y * y) * 6, 0, 1).astype(np.float32)
    return level + 14 * smooth(rng, height, width, 9) + 8 * smooth(rng, height, width, 3), mask


def drawn() -> Iterator[NDArray[np.uint8]]:
    """Draw a cabin with a person whose head, trunk and hands move, seen by a noisy sensor."""
    rng = np.random.default_rng(0)
    cabin = 70 + 22 * smooth(rng, HEIGHT, WIDTH, 60) + 9 * smooth(rng, HEIGHT, WIDTH, 7)
    parts = [  # sprite, centre, reach of its motion, and how many swings there are a second
        (sprite(rng, 260, 220, 120), (300, 250), (4, 9), 0.11),
        (sprite(rng, 110, 90, 165), (130, 250), (7, 16), 0.17),
        (sprite(rng, 60, 56, 190), (300, 160), (50, 60), 0.31),
        (sprite(rng, 60, 56, 185), (310, 350), (40, 55), 0.43),
    ]
    grain = rng.standard_normal((2 * HEIGHT, 2 * WIDTH)).astype(np.float32)
    # A sensor's noise is somewhat alike in neighbouring pixels.
    grain = NOISE * (grain + 0.5 * np.roll(grain, 1, 1) + 0.5 * np.roll(grain, 1, 0)) / 1.5**0.5
    for number in range(DRAWN):
        picture = cabin + np.float32(1.5 * np.sin(number / 40))
        for (pixels, mask), centre, reach, swings in parts:
            phase = 2 * np.pi * swings * number / RATE
            height, width = mask.shape
            top = int(centre[0] - height / 2 + reach[0] * np.sin(phase))
            left = int(centre[1] - width / 2 + reach[1] * np.cos(0.77 * phase))
            place = picture[top : top + height, left : left + width]
            seen = slice(0, place.shape[0]), slice(0, place.shape[1])
            place += mask[seen] * (pixels[seen] - place)
        down, right = rng.integers(HEIGHT), rng.integers(WIDTH)
        picture += grain[down : down + HEIGHT, right : right + WIDTH]
        yield np.clip(picture, 16, 235).astype(np.uint8)


def encode(paths: dict[int, Path], frames: int = DRAWN) -> None:
    """Encode drawn frames with each interval of key frames: H.264, yuv420p, neutral chroma."""
    outputs = []
    for interval, path in paths.items():
        own = {"g": str(interval), "x264-params": f"scenecut=0:keyint={interval}"}
        output = av.open(str(path), "w", format="mp4")
        stream = output.add_stream("libx264", rate=RATE, options={**ENCODER, **own})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        outputs.append((output, stream))
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for plane in list(frame.planes)[1:]:
        plane.update(np.full(plane.buffer_size, 128, np.uint8).tobytes())
    for number, picture in enumerate(islice(drawn(), frames)):
        rows = np.zeros((HEIGHT, frame.planes[0].line_size), np.uint8)
        rows[:, :WIDTH] = picture
        frame.planes[0].update(rows.tobytes())
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        for output, stream in outputs:
            output.mux(stream.encode(frame))
    for output, stream in outputs:
        output.mux(stream.encode(None))
        output.close()


def repeat(source: Path, target: Path, frames: int) -> None:
    """Write a recording of `frames` frames from copies of the packets of a shorter one.

    Every copy begins with a key frame; the last one is cut behind whole key-frame intervals.
    """
    with av.open(str(source)) as given, av.open(str(target), "w", format="mp4") as output:
        template = given.streams.video[0]
        stream = output.add_stream_from_template(template)
        tick = int(1 / (RATE * template.time_base))
        packets = [packet for packet in given.demux(template) if packet.size]
        for number in range(frames):
            copies, place = divmod(number, len(packets))
            old = packets[place]
            packet = av.Packet(bytes(old))
            packet.pts = old.pts + copies * len(packets) * tick
            packet.dts = old.dts + copies * len(packets) * tick
            packet.duration, packet.time_base = tick, old.time_base
            packet.is_keyframe = old.is_keyframe
            packet.stream = stream
            output.mux(packet)


def recordings(folder: Path, intervals: tuple[int, ...]) -> dict[int, Path]:
    """Return the drawn recording by interval of key frames, encoded where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {interval: folder / f"drawn-{interval}.mp4" for interval in intervals}
    parts = {interval: path.with_suffix(".part") for interval, path in found.items()}
    missing = {interval: parts[interval] for interval, path in found.items() if not path.exists()}
    if missing:
        encode(missing)
        for interval, part in missing.items():
            part.rename(found[interval])
    return found


def recording(folder: Path, interval: int, minutes: int) -> Path:
    """Return a recording of so many minutes with a key frame every `interval` frames."""
    path = folder / f"every-{interval}-{minutes}-minutes.mp4"
    if not path.exists():
        part = path.with_suffix(".part")
        repeat(recordings(folder, (interval,))[interval], part, minutes * 60 * RATE)
        part.rename(path)
    return path


def intervals_of(minutes: float) -> list[tuple[int, int]]:
    """Return annotated intervals in frames: back to back, with some gaps and some overlaps.

    Of ten clips one begins a second before the last one ends, and one 1 to 10 seconds after.
    """
    rng = np.random.default_rng(1)
    start, found = int(rng.integers(RATE)), []
    while start + CLIP_SECONDS * RATE <= minutes * 60 * RATE:
        found.append((start, start + CLIP_SECONDS * RATE))
        kind = rng.random()
        shift = -RATE if kind < 0.1 else int(rng.integers(RATE, 10 * RATE)) if kind > 0.9 else 0
        start += CLIP_SECONDS * RATE + shift
    return found


def annotate(path: Path, video: Path, minutes: float) -> Path:
    """Write the table of clips of the first minutes; of ten clips one is val and one is test."""
    intervals = intervals_of(minutes)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["video", "start", "end", "label", "subject", "split"])
        for number, (start, stop) in enumerate(intervals):
            part = {0: "val", 1: "test"}.get(number % 10, "train")
            label = "ab"[number // 10 % 2]
            writer.writerow([video, start, stop, label, f"of {part}", part])
    return path
