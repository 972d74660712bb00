"""Frames through torchcodec: the ones that PyAV gives, or an error; never another decoder."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition

from featstore.errors import InputError
from pipeline.video import torchcodec as torch_decode
from pipeline.video.decode import Lost, decode, decode_all
from pipeline.video.decoders import decoding, versions
from pipeline.video.errors import DecodeError
from pipeline.video.index import VideoIndex, read_index
from tests.videos import GOP_8, textured, write_streams, write_video

# FFmpeg converts with other rounding where the width or height is odd and chroma is halved.
SAME, ODD = 0, 32


def installed() -> bool:
    """Tell whether torchcodec can be loaded beside this torch and FFmpeg."""
    try:
        versions("torchcodec:cpu")
    except InputError:
        return False
    return True


needs_torchcodec = pytest.mark.skipif(not installed(), reason="torchcodec cannot be loaded")


def rgb(path: Path, index: VideoIndex, frames: list[int]) -> dict[int, np.ndarray]:
    """Decode some frames through torchcodec on the CPU, by number."""
    return dict(decoding("torchcodec:cpu")(path, index, np.array(frames), "rgb"))


def reference(path: Path, index: VideoIndex) -> np.ndarray:
    """Decode all frames with PyAV."""
    return np.stack([own for _, own in decode(path, index, np.arange(len(index)), "rgb")])


def coloured(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Pictures of coloured squares that all differ, shape (frames, height, width, 3)."""
    squares = np.random.default_rng(0).integers(0, 256, (frames, 9, 9, 3), np.uint8)
    return squares.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


X265 = {"x265-params": "lossless=1:keyint=8:bframes=3:open-gop=1:log-level=none"}
VP9 = {"lossless": "1", "g": "8", "deadline": "realtime", "cpu-used": "8"}
FILES = {
    "h264, B-frames": ("a.mp4", {"options": GOP_8}),
    "h264 in fragments": ("a.mp4", {"options": GOP_8, "container": {"movflags": "frag_keyframe"}}),
    "h264 in mkv": ("a.mkv", {"options": GOP_8}),
    "h264 in flv": ("a.flv", {"options": GOP_8}),
    "hevc, open": ("a.mkv", {"codec": "libx265", "options": X265}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "options": VP9}),
    "mpeg4 in avi": ("a.avi", {"codec": "mpeg4", "options": {"g": "9"}}),
    "variable rate": ("a.mp4", {"options": GOP_8, "times": [i * i * 7 for i in range(30)]}),
    "full range": ("a.mp4", {"color_range": 2}),
    "rgb": ("a.mkv", {"codec": "ffv1", "pixel_format": "bgr0"}),
    "upside down": ("a.mp4", {"rotation": 180}),
    "on its side": ("a.mp4", {"rotation": 90}),
}


@needs_torchcodec
@pytest.mark.parametrize("kind", FILES)
def test_every_frame_is_that_of_pyav(tmp_path: Path, kind: str) -> None:
    name, options = FILES[kind]
    path = write_video(tmp_path / name, coloured(30), **options)
    index = read_index(path)
    expected = reference(path, index).astype(int)
    assert min(np.abs(a - b).max() for a, b in pairwise(expected)) > 2 * ODD
    found = rgb(path, index, list(range(30)))
    assert list(found) == list(range(30))
    for number, picture in found.items():
        assert picture.dtype == np.uint8
        np.testing.assert_allclose(picture, expected[number], rtol=0, atol=SAME)
    some = rgb(path, index, [3, 4, 11, 29])
    assert list(some) == [3, 4, 11, 29]
    for number in some:
        np.testing.assert_array_equal(some[number], found[number])
    for number in (7, 8, 9, 20):  # after a seek
        np.testing.assert_array_equal(rgb(path, index, [number])[number], found[number])


@needs_torchcodec
def test_odd_sizes_differ_a_little(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", coloured(3, 33, 37), codec="ffv1")
    index = read_index(path)
    expected = reference(path, index).astype(int)
    found = np.stack(list(rgb(path, index, [0, 1, 2]).values()))
    assert found.shape == expected.shape
    assert 0 < np.abs(found - expected).max() <= ODD


@needs_torchcodec
def test_blocks_are_bounded_by_pixels_and_frames(tmp_path: Path, monkeypatch) -> None:
    path = write_video(tmp_path / "a.mp4", textured(70), options=GOP_8)
    index = read_index(path)
    asked = []
    opened = torch_decode._decoder
    monkeypatch.setattr(torch_decode, "_decoder", lambda *given: Watched(opened(*given), asked))
    assert list(rgb(path, index, list(range(70)))) == list(range(70))
    assert asked == [32, 32, 6]
    asked.clear()
    monkeypatch.setattr(torch_decode, "BLOCK_BYTES", 5 * 48 * 64 * 3)
    rgb(path, index, list(range(12)))
    assert asked == [5, 5, 2]


class Watched:
    """A decoder that keeps how many frames it was asked for."""

    def __init__(self, decoder, asked: list[int]) -> None:
        self._decoder, self._asked = decoder, asked

    def __len__(self) -> int:
        return len(self._decoder)

    def get_frames_at(self, numbers: list[int]):
        self._asked.append(len(numbers))
        return self._decoder.get_frames_at(numbers)


@needs_torchcodec
def test_the_stream_is_that_of_the_index(tmp_path: Path) -> None:
    small, large = textured(5), textured(5, 96, 128, seed=1)
    none = Disposition(0)
    path = write_streams(tmp_path / "a.mkv", (large, small), (none, Disposition.default))
    index = read_index(path)
    found = rgb(path, index, [0, 4])
    expected = reference(path, index)
    assert expected.shape == (5, 48, 64, 3)
    for number, picture in found.items():
        np.testing.assert_array_equal(picture, expected[number])


def damaged(tmp_path: Path, number: int, *, whole: bool) -> tuple[Path, VideoIndex, np.ndarray]:
    """Write a video and overwrite one packet, or the second half of it."""
    options = {"g": "10", "qp": "1", "x264-params": "bframes=0:scenecut=0"}
    path = write_video(tmp_path / "a.mp4", textured(30), options=options)
    index = read_index(path)
    expected = reference(path, index)
    with av.open(str(path)) as container:
        hit = next(p for p in container.demux(video=0) if p.pts == index.pts[number])
        place, size = hit.pos, hit.size
    content = bytearray(path.read_bytes())
    kept = 0 if whole else size // 2
    content[place + kept : place + size] = bytes([0 if not whole else 255]) * (size - kept)
    path.write_bytes(content)
    return path, index, expected


@needs_torchcodec
def test_a_frame_that_does_not_decode(tmp_path: Path) -> None:
    path, index, expected = damaged(tmp_path, 13, whole=True)
    every = decode_all(path, index, np.arange(30), "rgb", decoding("torchcodec:cpu"))
    found = list(every)
    lost = [own for own in found if isinstance(own, Lost)]
    assert [own.frames for own in lost] == [list(range(13, 20))]
    assert lost[0].reason.startswith("frame 13 did not decode (")
    assert "\n" not in lost[0].reason
    assert ".cpp" not in lost[0].reason
    good = dict(own for own in found if not isinstance(own, Lost))
    assert list(good) == [*range(13), *range(20, 30)]
    for number, picture in good.items():
        np.testing.assert_array_equal(picture, expected[number])
    with pytest.raises(DecodeError, match="frame 17 did not decode"):  # nobody asked for 13
        rgb(path, index, [3, 10, 17, 22])


@needs_torchcodec
def test_a_frame_that_is_damaged_is_not_noticed(tmp_path: Path) -> None:
    """What docs/decoding.md warns of; where this fails, torchcodec has learnt to tell."""
    path, index, expected = damaged(tmp_path, 13, whole=False)
    with pytest.raises(DecodeError, match="frame 13 did not decode"):
        reference(path, index)
    found = rgb(path, index, list(range(30)))
    assert np.abs(found[13].astype(int) - expected[13]).max() > ODD


@needs_torchcodec
def test_a_file_cut_behind_its_index(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(30), options=GOP_8)
    index = read_index(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"has 30 frames, and torchcodec finds \d+"):
        rgb(path, index, [0])
    path.write_bytes(b"")
    with pytest.raises(DecodeError, match="frame 3 did not decode"):
        rgb(path, index, [3])


@needs_torchcodec
def test_where_pictures_are_refreshed_in_parts(tmp_path: Path) -> None:
    """Behind a seek the first frames do not come; others never take their places."""
    options = {"g": "8", "intra-refresh": "1"}
    path = write_video(tmp_path / "a.mp4", textured(30), options=options)
    index = read_index(path)
    expected = reference(path, index)
    refused = []
    for number in range(30):
        try:
            found = rgb(path, index, [number])
        except DecodeError:
            refused.append(number)
        else:
            np.testing.assert_array_equal(found[number], expected[number])
    assert set(refused) <= {8, 9, 16, 17, 24, 25}  # each is a key frame or the one behind it
    assert len(rgb(path, index, list(range(30)))) == 30


@needs_torchcodec
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nvdec(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", coloured(30, 64, 64).repeat(4, 1).repeat(4, 2))
    index = read_index(path)
    expected = reference(path, index).astype(int)
    for number, picture in decoding("torchcodec:cuda")(path, index, np.arange(30), "rgb"):
        assert isinstance(picture, torch.Tensor)
        assert picture.is_cuda
        assert np.abs(picture.cpu().numpy() - expected[number]).mean() < 3
