import shutil
import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.video.decode import decode
from pipeline.video.images import index_images, numbered_images
from pipeline.video.index import VideoIndex, assumed_range, read_index
from tests.videos import B_MPEG, GOP_8, textured, video_frame, write_images, write_late, write_video


def test_constant_rate(tmp_path: Path) -> None:
    index = read_index(write_video(tmp_path / "a.mp4", textured(20), rate=25, options=GOP_8))
    assert len(index) == 20
    np.testing.assert_allclose(index.seconds, np.arange(20) / 25)
    assert index.keys.tolist() == [0, 8, 16]
    assert (index.rate, index.duration) == (25.0, 0.8)
    assert (index.width, index.height, index.pixel_format) == (64, 48, "yuv420p")


def test_variable_rate(tmp_path: Path) -> None:
    times = [0, 40, 50, 200, 230, 900]
    index = read_index(write_video(tmp_path / "a.mkv", textured(6), times=times))
    np.testing.assert_allclose(index.seconds, np.array(times) / 1000)


@pytest.mark.parametrize(("gaps", "rate"), [([40] * 8 + [400], 25), ([33, 34, 33], 30)])
def test_rate_survives_dropped_frames(gaps: list[int], rate: float) -> None:
    pts = np.cumsum([0, *gaps])
    index = VideoIndex(pts, pts[:1], Fraction(1, 1000), int(pts[-1]) + 40, 8, 8, "gray", 8, "full")
    assert index.rate == pytest.approx(rate, rel=0.02)


def test_key_frames_are_numbered_in_the_order_of_display(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", textured(30), options=GOP_8)
    index = read_index(path)
    with av.open(str(path)) as container:
        decoded = [(frame.pts, frame.key_frame) for frame in container.decode(video=0)]
    assert index.pts.tolist() == [pts for pts, _ in decoded]
    assert index.keys.tolist() == [number for number, (_, key) in enumerate(decoded) if key]


def test_packing_loses_nothing(tmp_path: Path) -> None:
    index = read_index(write_video(tmp_path / "a.mkv", textured(5), times=[7, 9, 30, 31, 99]))
    again = VideoIndex.unpack(index.pack())
    for name in VideoIndex.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(index, name))
    assert (again.pts.dtype, again.keys.dtype) == (np.int64, np.int64)
    assert isinstance(again.time_base, Fraction)


@pytest.mark.parametrize(
    ("pixel_format", "bits", "tag", "codec", "expected"),
    [
        ("yuv420p", 8, 0, "h264", "limited"),
        ("yuv420p", 8, 1, "h264", "limited"),
        ("yuv420p", 8, 2, "h264", "full"),
        ("yuvj420p", 8, 0, "mjpeg", "full"),
        ("gray", 8, 0, "ffv1", "full"),
        ("gray", 8, 0, "h264", "limited"),
        ("gray", 8, 1, "ffv1", "limited"),
        ("yuv420p10le", 10, 1, "hevc", "full"),
        ("gray16le", 16, 0, "ffv1", "full"),
        ("rgb24", 8, 0, "png", "full"),
        ("gbrp", 8, 0, "h264", "full"),
    ],
)
def test_range(pixel_format: str, bits: int, tag: int, codec: str, expected: str) -> None:
    assert assumed_range(pixel_format, bits, tag, codec) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "limited"),
        ({"color_range": 2}, "full"),
        ({"pixel_format": "yuvj420p"}, "full"),
        ({"codec": "ffv1", "pixel_format": "gray"}, "full"),
    ],
)
def test_range_of_a_file(tmp_path: Path, options: dict, expected: str) -> None:
    assert read_index(write_video(tmp_path / "a.mkv", textured(3), **options)).pixel_range == (
        expected
    )


def audio_only(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def without_frames(path: Path) -> None:
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 8, 8, "gray"
        output.start_encoding()  # which writes the header


def cut(share: float):
    def write(path: Path) -> None:
        write_video(path, textured(20), container={"movflags": "faststart"})
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])

    return write


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (Path.touch, "cannot be read as a video"),
        (lambda path: path.write_bytes(b"not a video" * 500), "cannot be read as a video"),
        (Path.mkdir, "cannot be read as a video"),
        (cut(0.01), "cannot be read as a video"),
        (cut(0.5), "is truncated"),
        (cut(0.98), "is truncated"),
        (audio_only, "no video stream"),
        (without_frames, "holds no frames|cannot be read"),
    ],
    ids=["empty", "text", "folder", "header", "half", "end", "audio", "no frames"],
)
def test_unusable_files_are_refused_in_one_sentence(tmp_path: Path, write, reason: str) -> None:
    path = tmp_path / "bad.mp4"
    write(path)
    with pytest.raises(InputError, match=reason) as caught:
        read_index(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


VP9 = {"lossless": "1", "g": "8", "deadline": "realtime", "cpu-used": "8"}
CONTAINERS = {
    "mkv": ("a.mkv", {"options": GOP_8}),
    "webm": ("a.webm", {"codec": "libvpx-vp9", "options": VP9}),
    "mpeg4 in avi": ("a.avi", {"codec": "mpeg4"}),
    "h264 in avi": ("a.avi", {"options": GOP_8}),
    "ffv1 in avi": ("a.avi", {"codec": "ffv1", "pixel_format": "gray"}),
    "flv": ("a.flv", {"options": GOP_8}),
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_truncated_video_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    name, options = CONTAINERS[kind]
    path = write_video(tmp_path / name, textured(90), **options)
    assert len(read_index(path)) == 90
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    of_time = r"it ends at \S+ s of 3\.\d+ s"
    reason = r"it holds \d+ of its 90 frames" if "avi" in kind else of_time
    with pytest.raises(InputError, match=f"truncated: {reason}") as caught:
        read_index(path)
    assert str(path) in str(caught.value)


def test_some_lost_frames_at_the_end_are_noticed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(30), codec="ffv1", pixel_format="gray")
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: places[25]])
    with pytest.raises(InputError, match=r"truncated:.*0\.8\d\d s.*1\.000 s"):
        read_index(path)


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.flv", "a.mp4"])
def test_longer_sound_does_not_matter(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream("aac", rate=44100, layout="mono")
        for number in range(15):
            frame = video_frame(textured(15)[number], "yuv420p")
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for number in range(150):
            silence = np.zeros((1, 1024), np.float32)
            samples = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
            samples.sample_rate, samples.pts = 44100, number * 1024
            output.mux(sound.encode(samples))
        output.mux(sound.encode(None))
    with av.open(str(path)) as container:
        assert container.duration > 3e6
    assert len(read_index(path)) == 15


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_seconds_count_from_the_beginning_of_the_file(tmp_path: Path, name: str) -> None:
    index = read_index(write_late(tmp_path / name, textured(50), delay=2))
    assert float(index.delay) == pytest.approx(2, abs=0.05)  # sound has a delay of its own
    np.testing.assert_allclose(index.seconds, float(index.delay) + np.arange(50) / 25)
    assert index.duration == pytest.approx(2)
    assert VideoIndex.unpack(index.pack()).delay == index.delay


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.mpg"])
def test_a_video_alone_begins_with_its_file(tmp_path: Path, name: str) -> None:
    codec = {"a.mpg": "mpeg2video", "a.avi": "mpeg4"}.get(name, "libx264")
    index = read_index(write_video(tmp_path / name, textured(50), codec=codec, rate=25))
    assert (index.delay, index.seconds[0]) == (0, 0)


def test_the_delay_of_b_frames_in_avi_is_not_one_of_the_camera(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", textured(50), codec="mpeg4", rate=25, options=B_MPEG)
    index = read_index(path)
    np.testing.assert_allclose(index.seconds, np.arange(50) / 25)


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_dropped_frames_do_not_matter(tmp_path: Path, name: str) -> None:
    times = [0, 40, 80, 400, 440, 1000, 1040]
    path = write_video(tmp_path / name, textured(7), codec="mpeg4", rate=25, times=times)
    assert len(read_index(path)) == 7


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.flv"])
def test_a_rate_that_varies_up_to_the_end_does_not_matter(tmp_path: Path, name: str) -> None:
    times = np.cumsum(np.random.default_rng(0).choice([20, 40, 200], 40)).tolist()
    path = write_video(tmp_path / name, textured(40), options=GOP_8, times=times)
    assert len(read_index(path)) == 40


def test_padded_packets_do_not_matter(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mkv",
        textured(20),
        times=np.cumsum([40, 40, 200, 40] * 5).tolist(),
        container={"cluster_time_limit": "1"},
    )
    content = path.read_bytes()
    cluster, void = b"\x1f\x43\xb6\x75", b"\xec\x42\x00" + bytes(512)
    assert content.count(cluster) > 10
    path.write_bytes(content.replace(cluster, void + cluster))
    assert len(read_index(path)) == 20


def test_a_recording_without_a_stated_duration(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(30), container={"live": "1"})
    assert len(read_index(path)) == 30


def test_a_long_video_takes_little_memory(tmp_path: Path) -> None:
    pictures = np.zeros((20_000, 8, 8), np.uint8)
    path = write_video(tmp_path / "a.nut", pictures, codec="rawvideo", pixel_format="gray")
    tracemalloc.start()
    try:
        index = read_index(path)
        next(decode(path, index, np.arange(len(index)), "luma"))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(index) == 20_000
    assert most < 80 * len(index)  # an hour of 30 frames a second in 9 MB


def test_two_frames_of_one_time_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(4), codec="ffv1", times=[0, 40, 80, 120])
    cluster = path.read_bytes()
    marked = struct.pack(">h", 80)
    assert cluster.count(b"\x81" + marked) == 1  # track 1, then the block's time
    path.write_bytes(cluster.replace(b"\x81" + marked, b"\x81" + struct.pack(">h", 40)))
    with pytest.raises(InputError, match=r"0\.040 s"):
        read_index(path)


def test_broken_text_in_the_header_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_video(path, textured(3), metadata={"title": "ABCDEFGH"})
    path.write_bytes(path.read_bytes().replace(b"ABCDEFGH", b"\xe9\xff\xe8DEFGH"))
    assert len(read_index(path)) == 3


class TestImages:
    def test_order_is_by_number(self, tmp_path: Path) -> None:
        folder = write_images(tmp_path / "images", textured(3))
        for old, new in (("1", "9"), ("2", "10"), ("3", "11")):
            (folder / f"frame_000{old}.png").rename(folder / f"cam2_{new}.png")
        assert [path.stem for path in numbered_images(folder)] == ["cam2_9", "cam2_10", "cam2_11"]

    def test_rate(self, tmp_path: Path) -> None:
        folder = write_images(tmp_path / "images", textured(4))
        index = index_images(folder, Fraction(5, 2))
        np.testing.assert_allclose(index.seconds, [0, 0.4, 0.8, 1.2])
        assert (index.rate, index.duration, index.timed) == (2.5, 1.6, True)
        unknown = index_images(folder, None)
        assert (unknown.rate, unknown.timed) == (None, False)
        np.testing.assert_array_equal(unknown.seconds, [np.nan] * 4)

    @pytest.mark.parametrize(
        ("names", "reason"),
        [([], "holds no images"), (["a.png"], "no number"), (["a1.png", "b01.png"], "same number")],
    )
    def test_refused(self, tmp_path: Path, names: list[str], reason: str) -> None:
        image = write_images(tmp_path / "images", textured(1)) / "frame_0001.png"
        folder = tmp_path / "folder"
        folder.mkdir()
        for name in names:
            shutil.copy(image, folder / name)
        with pytest.raises(InputError, match=reason):
            index_images(folder, None)


def test_left_out_numbers_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", textured(6))
    assert len(numbered_images(folder)) == 6
    (folder / "frame_0004.png").unlink()
    with pytest.raises(InputError, match=r"missing.*frame_0003\.png"):
        numbered_images(folder)
    for odd in (1, 3, 5):  # every second one is even again
        (folder / f"frame_{odd:04}.png").unlink(missing_ok=True)
    assert [path.name for path in numbered_images(folder)] == ["frame_0002.png", "frame_0006.png"]
