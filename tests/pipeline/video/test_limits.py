"""Pictures that are too large, and how many of them are decoded at once."""

import struct
import zlib
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.video import limits
from pipeline.video.cache import Cache
from pipeline.video.errors import DecodeError
from pipeline.video.images import index_images
from pipeline.video.limits import MAX_PIXELS, decoders_at_once
from pipeline.video.videos import read_videos
from tests.videos import luma, textured, write_images, write_video


def write_bomb(path: Path, side: int = 16000) -> Path:
    """Write a black PNG of a few kilobytes."""
    rows = zlib.compress(bytes(side // 8 + 1) * side, 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def read(name: str, path: Path, most: int) -> None:
    rate = Fraction(1)
    with closing(Cache(path.parent / "cache.sqlite")) as cache:
        read_videos({name: path}, cache, image_rate=rate, max_pixels=most, workers=1, log=print)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    write_bomb(tmp_path / "1.png")
    with pytest.raises(InputError, match=r"16000 x 16000.*--max-pixels 256000000"):
        index_images(tmp_path, None)


def test_a_later_bomb_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", textured(2))
    index = index_images(folder, None)
    write_bomb(folder / "frame_0002.png")
    with pytest.raises(DecodeError, match=r"frame_0002\.png is 16000 x 16000"):
        luma(folder, index, [0, 1])


@pytest.mark.parametrize("kind", ["video", "images"])
def test_the_limit_is_what_is_asked_for(tmp_path: Path, kind: str) -> None:
    pictures = textured(2, 48, 64)
    make = write_video if kind == "video" else write_images
    path = make(tmp_path / ("a.mp4" if kind == "video" else "a"), pictures)
    read("a", path, 48 * 64)
    with pytest.raises(InputError, match="64 x 48"):
        read("a", path, 48 * 64 - 1)


def test_fewer_huge_pictures_are_decoded_at_once() -> None:
    memory = 16 * 2**30
    counts = [decoders_at_once(16, side * side, memory) for side in (224, 1080, 8192, 16000)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[1], counts[-1]) == (16, 16, 1)
    assert decoders_at_once(2, MAX_PIXELS) in (1, 2)
    assert decoders_at_once(3, 0) == 3


@pytest.mark.parametrize(("text", "bytes_"), [("4096\n", 4096), ("max\n", None), (None, None)])
def test_memory_is_that_of_the_container(
    tmp_path: Path, text: str | None, bytes_: int | None
) -> None:
    limit = tmp_path / "memory.max"
    if text is not None:
        limit.write_text(text)
    machine = limits._memory(())
    assert limits._memory((limit,)) == (bytes_ or machine)


def test_weights_of_large_sides_do_not_depend_on_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.build.extract import resize

    whole = resize._weights.__wrapped__(300, 32, 1, "bilinear")
    monkeypatch.setattr(resize, "PART", 100)
    for own, other in zip(whole, resize._weights.__wrapped__(300, 32, 1, "bilinear"), strict=True):
        np.testing.assert_array_equal(own.numpy(), other.numpy())
