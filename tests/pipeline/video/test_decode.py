import itertools
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.decode import decode, looks_grey
from pipeline.video.index import read_index
from tests.videos import B_FRAMES, GOP_8, luma, off, textured, write_video

MPEG = {"qmin": "1", "qmax": "1"}
X265 = {"x265-params": "lossless=1:keyint=8:bframes=3:open-gop=1:log-level=none"}
VP9 = {"lossless": "1", "g": "8", "deadline": "realtime", "cpu-used": "8"}
FILES = {
    "h264, only key frames": ("a.mp4", {"options": {"g": "1"}}),
    "h264, key frames every 2": ("a.mp4", {"options": GOP_8 | {"g": "2"}}),
    "h264, B-frames": ("a.mp4", {"options": GOP_8}),
    "h264, open": ("a.mp4", {"options": GOP_8 | {"x264-params": B_FRAMES + ":open-gop=1"}}),
    "h264, refreshed": ("a.mp4", {"options": {"g": "8", "intra-refresh": "1"}}),
    "h264 in fragments": ("a.mp4", {"options": GOP_8, "container": {"movflags": "frag_keyframe"}}),
    "h264 in mkv": ("a.mkv", {"options": GOP_8}),
    "h264 in avi": ("a.avi", {"options": GOP_8}),
    "h264 in flv": ("a.flv", {"options": GOP_8}),
    "h264 in ts": ("a.ts", {"options": GOP_8}),
    "h264 alone": ("a.h264", {"options": GOP_8}),
    "hevc, open": ("a.mkv", {"codec": "libx265", "options": X265}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "options": VP9}),
    "mpeg4 in avi": ("a.avi", {"codec": "mpeg4", "options": MPEG | {"g": "9"}}),
    "mpeg4 in avi, B": ("a.avi", {"codec": "mpeg4", "options": MPEG | {"g": "9", "bf": "2"}}),
    "mpeg2, B": ("a.mpg", {"codec": "mpeg2video", "options": MPEG | {"g": "9", "bf": "2"}}),
    "mpeg2 in ts, B": ("a.ts", {"codec": "mpeg2video", "options": MPEG | {"g": "9", "bf": "2"}}),
    "ffv1": ("a.mkv", {"codec": "ffv1", "pixel_format": "gray", "options": {"g": "5"}}),
    "variable rate": ("a.mp4", {"options": GOP_8, "times": [i * i * 7 for i in range(30)]}),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_frame_is_the_one_asked_for(tmp_path: Path, kind: str) -> None:
    name, options = FILES[kind]
    pictures = textured(30)
    path = write_video(tmp_path / name, pictures, **options)
    index = read_index(path)
    assert len(index) == 30

    in_order = luma(path, index, list(range(30)))
    assert list(in_order) == list(range(30))
    assert max(off(in_order[number], pictures[number]) for number in in_order) < 2.5
    for number in range(30):  # after a seek
        alone = luma(path, index, [number])
        assert list(alone) == [number]
        np.testing.assert_array_equal(alone[number], in_order[number])
    some = luma(path, index, [3, 4, 11, 29])
    assert list(some) == [3, 4, 11, 29]
    for number, picture in some.items():
        np.testing.assert_array_equal(picture, in_order[number])


def test_the_test_tells_neighbours_apart() -> None:
    pictures = textured(30)
    assert min(off(a, b) for a, b in itertools.pairwise(pictures)) > 4


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
