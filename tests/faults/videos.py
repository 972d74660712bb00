"""Videos that were damaged, read as a build reads them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from featstore.errors import InputError
from pipeline.video.decode import Lost, decode, decode_all
from pipeline.video.index import read_index
from tests.faults.outcomes import Trial, deadline
from tests.videos import KINDS, VP8, textured, write_video

FRAMES = 40
CLEARLY = 0.5  # of the difference from the frame that it should show
CONTAINERS = {
    "mp4": KINDS["h264 in mp4"],
    "fragmented mp4": KINDS["h264 in fragments"],
    "mov": KINDS["h264 in mov"],
    "mkv": KINDS["h264 in mkv"],
    "webm": KINDS["vp9 in webm"],
    "avi": KINDS["mpeg4 in avi"],
    "ts": KINDS["h264 in ts"],
    "mpg": KINDS["mpeg2, open in mpg"],
    "flv": KINDS["h264 in flv"],
    "ogv": ("a.ogv", {"codec": "libvpx", "options": VP8}),
    "wmv": KINDS["wmv2 in wmv"],
    "nut": KINDS["h264 in nut"],
}


@cache
def whole(home: Path, container: str) -> tuple[Path, dict[int, np.ndarray]]:
    """Write a video once; return it and its frames."""
    name, how = CONTAINERS[container]
    path = home / f"{container.replace(' ', '-')}-{name}"
    write_video(path, textured(FRAMES), **how)
    index = read_index(path)
    return path, dict(decode(path, index, np.arange(len(index)), "luma"))


def mutated(folder: Path, rng: np.random.Generator) -> Trial:
    """Damage a video, and compare every frame that is still given out with the original's."""
    container = list(CONTAINERS)[int(rng.integers(len(CONTAINERS)))]
    original, expected = whole(folder.parent, container)
    path = folder / original.name
    content, how = mutation(original.read_bytes(), rng)
    path.write_bytes(content)
    try:
        with deadline():
            return _judged(path, expected, f"{container}, {how}")
    except TimeoutError:
        return Trial("NO END", f"{container}, {how}")


def _judged(path: Path, expected: dict[int, np.ndarray], what: str) -> Trial:
    try:
        index = read_index(path)
    except InputError:
        return Trial("refused")
    except Exception as error:
        return Trial("TRACEBACK", f"{what}: {error!r}")
    found: dict[int, np.ndarray] = {}
    outcome = "equal"
    try:
        # As a build does: what can be decoded after a failed frame counts, too.
        for frame in decode_all(path, index, np.arange(len(index)), "luma"):
            if isinstance(frame, Lost):
                outcome = "clip failed by name"
            else:
                found[frame[0]] = frame[1]
    except InputError:
        outcome = "refused"
    except Exception as error:
        return Trial("TRACEBACK", f"{what}: {error!r}")
    changed = False
    for number, picture in found.items():
        if number in expected and np.array_equal(picture, expected[number]):
            continue
        if (shown := other_frame(number, picture, expected)) is not None:
            return Trial("SILENTLY WRONG", f"{what}: frame {number} shows {shown}")
        changed = True
    if changed:
        # The decoder found nothing wrong, and these formats have no checksum of pictures.
        return Trial("pixels changed, frames in place", what)
    if outcome == "equal" and len(found) != len(expected):
        return Trial("shorter, clips beyond fail by name", what)
    return Trial(outcome)


def other_frame(number: int, picture: np.ndarray, expected: dict[int, np.ndarray]) -> int | None:
    """Return which other frame a picture clearly shows; None if none, -1 if its size differs."""
    if any(own.shape != picture.shape for own in expected.values()):
        return -1
    away = {n: np.abs(own.astype(int) - picture).mean() for n, own in expected.items()}
    nearest = min(away, key=lambda n: away[n])
    return nearest if away[nearest] < CLEARLY * away.get(number, np.inf) else None


def mutation(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Return bytes with one kind of damage, and what it is."""
    size = len(content)
    at, other = (int(n) for n in rng.integers(0, size, 2))
    length = int(2 ** rng.uniform(0, np.log2(max(2, size // 4))))
    kind = ("bits", "zeros", "noise", "cut", "lost", "twice", "swapped", "inserted")[
        int(rng.integers(8))
    ]
    changed = bytearray(content)
    if kind == "bits":
        for _ in range(int(rng.integers(1, 9))):
            changed[int(rng.integers(size))] ^= 1 << int(rng.integers(8))
    elif kind == "zeros":
        changed[at : at + length] = bytes(len(changed[at : at + length]))
    elif kind == "noise":
        changed[at : at + length] = rng.bytes(len(changed[at : at + length]))
    elif kind == "cut":
        del changed[at:]
    elif kind == "lost":
        del changed[at : at + length]
    elif kind == "twice":
        changed[at:at] = content[at : at + length]
    elif kind == "swapped":
        changed[at : at + length] = content[other : other + length]
    else:
        changed[at:at] = rng.bytes(length)
    return bytes(changed), f"{kind} at {at} of {size}, {length}"
