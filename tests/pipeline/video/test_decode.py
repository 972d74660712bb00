import io
import itertools
import struct
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image, ImageOps

from featstore.errors import InputError
from pipeline.video.decode import DecodeError, _judged, decode, looks_grey
from pipeline.video.images import index_images
from pipeline.video.index import VideoIndex, read_index
from tests.videos import B_FRAMES, GOP_8, encoded_image, textured, write_images, write_video

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


def luma(path: Path, index: VideoIndex, frames: list[int]) -> dict[int, np.ndarray]:
    return dict(decode(path, index, np.array(frames), "luma"))


def off(picture: np.ndarray, expected: np.ndarray) -> float:
    """Mean difference: 0 to 2 for the same frame, 4 and more for a neighbour."""
    return float(np.abs(picture.astype(int) - expected).mean())


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


class TestImages:
    @pytest.mark.parametrize("bits", [8, 16])
    def test_grey(self, tmp_path: Path, bits: int) -> None:
        pictures = textured(3, 33, 37).astype(f"u{bits // 8}") * (1 if bits == 8 else 257)
        folder = write_images(tmp_path / "images", pictures)
        index = index_images(folder, None)
        assert (index.bits, index.pixel_range) == (bits, "full")
        np.testing.assert_array_equal(
            np.stack(list(luma(folder, index, [0, 1, 2]).values())), pictures
        )

    def test_jpeg(self, tmp_path: Path) -> None:
        pictures = np.full((2, 33, 37), 7, np.uint8)
        pictures[:, :16, :16] = 250
        folder = write_images(tmp_path / "images", pictures, ".jpg")
        found = luma(folder, index_images(folder, None), [1])
        np.testing.assert_allclose(found[1], pictures[1], atol=4)

    @pytest.mark.parametrize("lossless", [False, True])
    def test_webp(self, tmp_path: Path, lossless: bool) -> None:
        ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (16, 1))
        picture = Image.fromarray(ramp).convert("RGB")
        picture.save(tmp_path / "1.webp", lossless=lossless, quality=100)
        index = index_images(tmp_path, None)
        assert index.pixel_range == ("full" if lossless else "limited")
        found = luma(tmp_path, index, [0])[0].astype(float)
        if not lossless:
            found = (found - 16) / 219 * 255
        np.testing.assert_allclose(found, ramp, atol=2)

    @pytest.mark.parametrize("mode", ["luma", "rgb"])
    def test_mixed_depths_are_refused(self, tmp_path: Path, mode) -> None:
        pictures = textured(3)
        folder = write_images(tmp_path / "images", pictures)
        index = index_images(folder, None)
        wide = encoded_image(pictures[1].astype(np.uint16) * 257)
        (folder / "frame_0002.png").write_bytes(wide)
        reason = r"frame_0002.png is gray16be, 16 bits, full range, but .* gray, 8 bits, full range"
        with pytest.raises(DecodeError, match=reason) as caught:
            list(decode(folder, index, np.arange(3), mode))
        assert caught.value.frame == 1

    def test_mixed_ranges_are_refused(self, tmp_path: Path) -> None:
        picture = Image.fromarray(textured(1)[0]).convert("RGB")
        picture.save(tmp_path / "1.png")
        picture.save(tmp_path / "2.webp")
        with pytest.raises(DecodeError, match=r"2.webp is yuv420p, 8 bits, limited range, but"):
            luma(tmp_path, index_images(tmp_path, None), [0, 1])

    def test_formats_of_one_scale_may_be_mixed(self, tmp_path: Path) -> None:
        picture = Image.fromarray(textured(1)[0])
        for number, mode in enumerate(["1", "L", "P", "RGB"]):
            picture.convert(mode).save(tmp_path / f"{number}.png")
        picture.convert("RGB").save(tmp_path / "4.jpg")
        picture.save(tmp_path / "5.jpg")
        assert len(luma(tmp_path, index_images(tmp_path, None), list(range(6)))) == 6

    def test_some_of_many(self, tmp_path: Path) -> None:
        pictures = textured(12)
        folder = write_images(tmp_path / "images", pictures)
        found = luma(folder, index_images(folder, None), [2, 9, 11])
        for number in (2, 9, 11):
            np.testing.assert_array_equal(found[number], pictures[number])

    @pytest.mark.parametrize("mode", ["L", "P", "LA", "RGB", "RGBA", "1"])
    def test_every_kind_of_grey_png(self, tmp_path: Path, mode: str) -> None:
        ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (8, 1))
        picture = Image.fromarray(ramp if mode != "1" else (ramp > 90).astype(np.uint8) * 255)
        picture.convert(mode).save(tmp_path / "1.png")
        found = luma(tmp_path, index_images(tmp_path, None), [0])[0]
        np.testing.assert_allclose(found, np.asarray(picture), atol=1)

    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_exif_orientation(self, tmp_path: Path, orientation: int) -> None:
        picture = np.full((32, 64), 40, np.uint8)
        picture[:8, :16] = 200
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(picture).save(tmp_path / "1.jpg", exif=exif, quality=95)
        upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "1.jpg")))
        found = luma(tmp_path, index_images(tmp_path, None), [0])[0]
        assert found.shape == upright.shape
        assert off(found, upright) < 2

    @pytest.mark.parametrize("suffix", [".png", ".jpg"])
    @pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9])
    def test_a_truncated_image_is_an_error(self, tmp_path: Path, suffix: str, share) -> None:
        folder = write_images(tmp_path / "images", textured(3), suffix)
        index = index_images(folder, None)
        bad = folder / f"frame_0002{suffix}"
        whole = bad.read_bytes()
        bad.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DecodeError) as caught:
            luma(folder, index, [0, 1, 2])
        assert caught.value.frame == 1


class TestDamage:
    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    def test_truncated_after_it_was_indexed(self, tmp_path: Path, name: str, share) -> None:
        pictures = textured(30)
        container = {"movflags": "faststart"} if name == "a.mp4" else {}
        path = write_video(tmp_path / name, pictures, options=GOP_8, container=container)
        index = read_index(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        good = []
        with pytest.raises(DecodeError) as caught:  # noqa: PT012
            for number, picture in decode(path, index, np.arange(30), "luma"):
                assert off(picture, pictures[number]) < 2.5
                good.append(number)
        assert good == list(range(caught.value.frame))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(DecodeError):
            luma(path, index, [29])

    def test_frames_predicted_from_a_damaged_one(self, tmp_path: Path) -> None:
        pictures = textured(30)
        options = {"options": {"g": "10", "qp": "1", "x264-params": "bframes=0:scenecut=0"}}
        path = write_video(tmp_path / "a.mp4", pictures, **options)
        index = read_index(path)
        with av.open(str(path)) as container:
            hit = next(p for p in container.demux(video=0) if p.pts == index.pts[13])
            place, size = hit.pos, hit.size
        content = bytearray(path.read_bytes())
        content[place + size // 2 : place + size] = bytes(size - size // 2)
        path.write_bytes(content)
        for number in range(30):
            if 13 <= number < 20:
                with pytest.raises(DecodeError):
                    luma(path, index, [number])
            else:
                assert off(luma(path, index, [number])[number], pictures[number]) < 2.5

    def test_b_frames_before_a_damaged_one(self, tmp_path: Path) -> None:
        pictures = textured(30)
        path = write_video(tmp_path / "a.mp4", pictures, options=GOP_8)
        index = read_index(path)
        with av.open(str(path)) as container:
            kinds = [frame.pict_type for frame in container.decode(video=0)]
            hit = next(n for n in range(2, 30) if kinds[n - 2 : n + 1] == [3, 3, 2])  # B, B, P
        with av.open(str(path)) as container:
            packet = next(p for p in container.demux(video=0) if p.pts == index.pts[hit])
        content = bytearray(path.read_bytes())
        half = packet.size // 2
        content[packet.pos + half : packet.pos + packet.size] = bytes(packet.size - half)
        path.write_bytes(content)
        refused = []
        for number in range(30):
            try:
                assert off(luma(path, index, [number])[number], pictures[number]) < 2.5
            except DecodeError:
                refused.append(number)
        assert refused == list(range(hit - 2, index.keys[index.keys > hit][0]))

    def test_few_frames_wait_for_one_that_never_comes(self) -> None:
        taken = []

        def marked_b():
            for number in range(100):
                taken.append(number)
                yield (
                    number,
                    SimpleNamespace(is_corrupt=False, key_frame=False, pict_type=PictureType.B),
                )

        for number, _, damaged in _judged(marked_b()):
            assert len(taken) - number <= 17
            assert not damaged
        assert number == 99

    def test_another_video_in_its_place(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mkv", textured(10), times=[i * 40 for i in range(10)])
        index = read_index(path)
        write_video(path, textured(10), times=[i * 50 for i in range(10)])
        with pytest.raises(DecodeError, match="not indexed"):
            luma(path, index, [0, 1, 2])

    def test_a_missing_frame_is_not_replaced_by_the_next(self, tmp_path: Path) -> None:
        times = [i * 40 for i in range(10)]
        path = write_video(tmp_path / "a.mkv", textured(10), codec="ffv1", times=times)
        index = read_index(path)
        keep = np.delete(np.arange(10), 4)
        write_video(path, textured(10)[keep], codec="ffv1", times=np.array(times)[keep].tolist())
        with pytest.raises(DecodeError, match=r"frame 4 did not decode .frame 5 came instead"):
            luma(path, index, [3, 4, 5])
        with pytest.raises(DecodeError, match="frame 5 came instead"):
            luma(path, index, [4])

    def test_a_file_that_went_away(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mkv", textured(3))
        index = read_index(path)
        path.unlink()
        with pytest.raises(InputError, match=r"frame 0 did not decode .No such file"):
            luma(path, index, [0])


def test_the_helper_writes_real_images() -> None:
    picture = textured(1)[0]
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(encoded_image(picture)))), picture
    )
