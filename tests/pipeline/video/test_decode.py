import itertools
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.decode import decode
from pipeline.video.grey import looks_grey
from pipeline.video.index import read_index
from tests.videos import GOP_8, KINDS, luma, off, textured, write_two_sizes, write_video


def sequential(path: Path) -> list[np.ndarray]:
    """Luma of every frame in the order in which PyAV decodes them from the beginning."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = [frame.to_ndarray() for frame in container.decode(video=0)]
    return [frame[:48, :64] for frame in frames]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_the_one_of_sequential_decoding(tmp_path: Path, kind: str) -> None:
    name, options = KINDS[kind]
    pictures = textured(30)
    path = write_video(tmp_path / name, pictures, **options)
    index = read_index(path)
    expected = sequential(path)
    assert len(index) == len(expected) == 30
    assert max(off(one, other) for one, other in zip(expected, pictures, strict=True)) < 2.5

    rng = np.random.default_rng(0)
    some = [rng.choice(30, rng.integers(1, 9), replace=False) for _ in range(6)]
    for frames in (
        [*range(30)],
        *([n] for n in range(0, 30, 2)),
        *(sorted(s.tolist()) for s in some),
    ):
        found = luma(path, index, frames)
        assert list(found) == frames
        for number, picture in found.items():
            np.testing.assert_array_equal(picture, expected[number])


SIZES = {"a.ts": "libx264", "a.mkv": "libx264", "a.mp4": "libx264", "a.avi": "mjpeg"}


@pytest.mark.parametrize("name", [*SIZES, "a.webm"])
def test_a_size_that_changes(tmp_path: Path, name: str) -> None:
    parts = textured(10), textured(10, 96, 128, seed=1)
    path = write_two_sizes(tmp_path / name, parts, SIZES.get(name, "libvpx-vp9"))
    index = read_index(path)
    assert len(index) == 20
    whole = luma(path, index, list(range(20)))
    for number, expected in enumerate([*parts[0], *parts[1]]):
        assert whole[number].shape == expected.shape
        assert off(whole[number], expected) < 2.5
        np.testing.assert_array_equal(luma(path, index, [number])[number], whole[number])


def test_the_test_tells_neighbours_apart() -> None:
    pictures = textured(30)
    assert min(off(a, b) for a, b in itertools.pairwise(pictures)) > 4


def test_encoding_leaves_the_thread_as_it_was(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    name, options = KINDS["av1 in mp4"]
    write_video(tmp_path / name, textured(2), **options)
    assert os.sched_getscheduler(0) == before


def test_a_trimmed_video_begins_between_key_frames(tmp_path: Path) -> None:
    pictures = textured(30)
    path = write_video(tmp_path / "a.mp4", pictures, options=GOP_8)
    tick = read_index(path).pts[1]
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 16  # where the track's media begin
    (begin,) = struct.unpack_from(">i", content, place)
    struct.pack_into(">i", content, place, begin + 5 * int(tick))
    path.write_bytes(content)

    index = read_index(path)
    assert (len(index), index.keys.tolist()) == (25, [3, 11, 19])
    for number in (0, 2, 3, 10, 24):
        assert off(luma(path, index, [number])[number], pictures[number + 5]) < 2.5


def test_pictures_are_copies(tmp_path: Path) -> None:
    pictures = textured(30)
    path = write_video(tmp_path / "a.mkv", pictures, codec="ffv1", pixel_format="gray")
    kept = list(luma(path, read_index(path), list(range(30))).values())
    np.testing.assert_array_equal(np.stack(kept), pictures)
    assert all(picture.flags.owndata and picture.flags.writeable for picture in kept)


@pytest.mark.parametrize(
    ("pixel_format", "codec", "scale"),
    [
        ("gray", "ffv1", None),
        ("gray10le", "ffv1", 4),
        ("gray16le", "ffv1", 257),
        ("yuv420p", "ffv1", None),
        ("yuv422p", "ffv1", None),
        ("yuv444p", "libx264", None),
        ("yuv420p10le", "ffv1", 4),
        ("yuv420p16le", "ffv1", 257),
        ("yuva420p", "ffv1", None),
        ("nv12", "rawvideo", None),
    ],
)
@pytest.mark.parametrize("size", [(33, 37), (48, 64)])
def test_luma_is_the_y_plane(tmp_path: Path, pixel_format, codec, scale, size) -> None:
    pictures = textured(3, *size)
    if scale:
        pictures = pictures.astype(np.uint16) * scale
    suffix = "nut" if codec == "rawvideo" else "mkv"
    path = write_video(tmp_path / f"a.{suffix}", pictures, codec=codec, pixel_format=pixel_format)
    index = read_index(path)
    assert index.bits == {None: 8, 4: 10, 257: 16}[scale]
    found = luma(path, index, [0, 1, 2])
    np.testing.assert_array_equal(np.stack(list(found.values())), pictures)
    assert found[0].dtype == pictures.dtype


@pytest.mark.parametrize("pixel_format", ["yuyv422", "uyvy422"])
def test_packed_luma_keeps_its_values(tmp_path: Path, pixel_format: str) -> None:
    pictures = textured(2)
    planar = [av.VideoFrame.from_ndarray(p, "gray").reformat(format="yuv422p") for p in pictures]
    path = tmp_path / "a.nut"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("rawvideo", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        for frame in planar:
            output.mux(stream.encode(frame.reformat(format=pixel_format)))
        output.mux(stream.encode(None))
    found = luma(path, read_index(path), [0, 1])
    for number, frame in enumerate(planar):
        np.testing.assert_array_equal(found[number], frame.to_ndarray()[:48])


def test_rgb(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = np.repeat(rng.integers(0, 256, (2, 5, 7, 3), np.uint8), 8, axis=1).repeat(8, axis=2)
    path = write_video(tmp_path / "a.mkv", colours, codec="ffv1", pixel_format="bgr0")
    index = read_index(path)
    for number, picture in decode(path, index, np.arange(2), "rgb"):
        np.testing.assert_array_equal(picture, colours[number])
    grey = luma(path, index, [0])[0]  # Rec. 601, in full range
    np.testing.assert_allclose(grey, colours[0] @ [0.299, 0.587, 0.114], atol=1)
    assert not looks_grey(path, index)


@pytest.mark.parametrize(("tag", "black", "white"), [(0, 16, 235), (2, 0, 255)])
def test_rgb_is_expanded_as_tagged(tmp_path: Path, tag: int, black: int, white: int) -> None:
    pictures = np.full((1, 16, 32), black, np.uint8)
    pictures[:, :, 16:] = white
    path = write_video(tmp_path / "a.mkv", pictures, color_range=tag)
    index = read_index(path)
    [(_, rgb)] = decode(path, index, np.array([0]), "rgb")
    assert rgb.shape == (16, 32, 3)
    assert (rgb[:, :14].max(), rgb[:, 18:].min()) == (0, 255)
    assert looks_grey(path, index)


GREY, COLOURED, BLACK = textured(1)[0], (200, 40, 90), 0


@pytest.mark.parametrize(
    ("scenes", "grey"),
    [
        ([BLACK], False),
        ([BLACK, GREY], True),
        ([BLACK, COLOURED], False),
        ([GREY, COLOURED], False),
        ([GREY], True),
    ],
)
def test_black_frames_tell_nothing_of_colour(tmp_path: Path, scenes: list, grey: bool) -> None:
    pictures = np.zeros((40, 48, 64, 3), np.uint8)
    for number, scene in enumerate(scenes):
        own = scene[..., None] if isinstance(scene, np.ndarray) else scene
        pictures[number * 40 // len(scenes) :] = own
    path = write_video(tmp_path / "a.mkv", pictures, codec="ffv1", pixel_format="bgr0")
    assert looks_grey(path, read_index(path)) is grey


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mode", ["luma", "rgb"])
def test_rotated_video_is_turned_upright(tmp_path: Path, turn: int, mode) -> None:
    pictures = np.full((2, 32, 64), 40, np.uint8)
    pictures[:, :8, :16] = 200  # top left
    path = write_video(tmp_path / "a.mp4", pictures, rotation=turn)
    [(_, picture)] = decode(path, read_index(path), np.array([0]), mode)
    wide = turn % 180 == 0
    assert picture.shape[:2] == ((32, 64) if wide else (64, 32))
    bright = {0: (0, 0), 90: (-1, 0), 180: (-1, -1), 270: (0, -1)}[turn]  # against the clock
    plane = picture if mode == "luma" else picture[..., 1]
    assert [at for at in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if plane[at] > 150] == [bright]
