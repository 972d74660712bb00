"""Pictures that are stored turned or mirrored, against Pillow, numpy and the ffmpeg program."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.video.decode import decode
from pipeline.video.errors import DecodeError
from pipeline.video.images import index_images
from pipeline.video.index import read_index
from pipeline.video.orientation import mirrored_track
from pipeline.video.torchcodec import decode_with_torchcodec
from tests.videos import luma, textured, write_video

ONE = 1 << 16
IDENTITY = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
# Where (x, y) goes: (a x + c y, b x + d y).
MATRICES = {
    "as stored": (1, 0, 0, 1),
    "hflip": (-1, 0, 0, 1),
    "turned by 180": (-1, 0, 0, -1),
    "vflip": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "turned right": (0, 1, -1, 0),
    "transposed the other way": (0, -1, -1, 0),
    "turned left": (0, -1, 1, 0),
}
MIRRORED = ("hflip", "vflip", "transposed", "transposed the other way")
SUFFIXES = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".png": {},
    ".webp": {"lossless": True},
}


def with_matrix(path: Path, matrix: tuple[float, ...], box: bytes = b"tkhd") -> Path:
    """Write a matrix into a header that has none."""
    data = path.read_bytes()
    a, b, c, d = (round(ONE * value) for value in matrix)
    changed = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    begin = data.index(IDENTITY, data.index(box))
    path.write_bytes(data[:begin] + changed + data[begin + len(changed) :])
    return path


def moved(picture: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """Move every pixel to where the matrix says."""
    a, b, c, d = matrix
    y, x = np.indices(picture.shape)
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    result = np.zeros((down.max() + 1, across.max() + 1), picture.dtype)
    result[down, across] = picture
    return result


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", textured(3))


@pytest.mark.parametrize("name", MATRICES)
def test_videos(video: Path, name: str) -> None:
    path = with_matrix(video, MATRICES[name])
    index = read_index(path)
    assert index.mirrored == (name in MIRRORED)
    found = luma(path, index, [0, 2])
    for number, picture in found.items():
        np.testing.assert_array_equal(picture, moved(textured(3)[number], MATRICES[name]))


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program is not there")
def test_as_the_ffmpeg_program_shows_videos(video: Path, name: str) -> None:
    path = with_matrix(video, MATRICES[name])
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    shown = subprocess.run(command, check=True, capture_output=True).stdout
    found = [picture for _, picture in decode(path, read_index(path), np.arange(3), "rgb")]
    expected = np.frombuffer(shown, np.uint8).reshape(np.stack(found).shape)
    np.testing.assert_allclose(np.stack(found).astype(int), expected, atol=2)


def test_the_matrix_of_the_movie_counts_too(video: Path) -> None:
    path = with_matrix(video, MATRICES["vflip"], b"mvhd")
    assert read_index(path).mirrored
    expected = textured(3)[1][::-1]
    np.testing.assert_array_equal(luma(path, read_index(path), [1])[1], expected)
    assert not read_index(with_matrix(path, MATRICES["hflip"])).mirrored


@pytest.mark.parametrize("matrix", [(2, 0, 0, 2), (1, 0, 0.2, 1), (0, 0, 0, 0)])
def test_scales_are_passed_over(video: Path, matrix: tuple[float, ...]) -> None:
    path = with_matrix(video, matrix)
    np.testing.assert_array_equal(luma(path, read_index(path), [0])[0], textured(3)[0])


@pytest.mark.parametrize("degrees", [30, 45, 100])
def test_other_turns_are_refused(video: Path, degrees: int) -> None:
    angle = np.deg2rad(degrees)
    path = with_matrix(video, (np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)))
    # PyAV cuts the fraction off.
    with pytest.raises(DecodeError, match=f"rotated by ({degrees}|{degrees - 1}) degrees"):
        luma(path, read_index(path), [0])


def test_a_mirror_that_the_header_does_not_state_is_refused(video: Path) -> None:
    index = read_index(video)
    with pytest.raises(DecodeError, match="mirrored"):
        luma(with_matrix(video, MATRICES["hflip"]), index, [0])


def test_torchcodec_does_not_mirror(video: Path) -> None:
    path = with_matrix(video, MATRICES["hflip"])
    with pytest.raises(Exception, match=r"mirrored.*--decoder pyav"):
        list(decode_with_torchcodec(path, read_index(path), np.arange(1), "rgb", device="cpu"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_half_a_header_mirrors_nothing(video: Path, share: float) -> None:
    data = video.read_bytes()
    end = data.index(b"tkhd") + 84
    video.write_bytes(data[: int(share * end)])
    assert not mirrored_track(video, 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["luma", "rgb"])
def test_images(tmp_path: Path, suffix: str, orientation: int, mode) -> None:
    picture = np.full((32, 64, 3), 40, np.uint8)
    picture[:8, :16], picture[24:, :8], picture[:8, 56:] = 200, 120, 160
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"1{suffix}"
    Image.fromarray(picture).save(path, exif=exif, **SUFFIXES[suffix])
    with Image.open(path) as image:
        shown = ImageOps.exif_transpose(image).convert("RGB" if mode == "rgb" else "L")
    index = index_images(tmp_path, None)
    assert index.mirrored == (orientation in (2, 4, 5, 7))
    found = next(decode(tmp_path, index, np.arange(1), mode))[1]
    assert found.shape == np.asarray(shown).shape
    np.testing.assert_allclose(found.astype(int), np.asarray(shown), atol=6)


@pytest.mark.parametrize("orientation", [1, 2, 3, 6])
def test_a_turned_tiff_is_refused(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(textured(1)[0]).save(tmp_path / "1.tif", exif=exif)
    if orientation == 1:
        np.testing.assert_array_equal(
            luma(tmp_path, index_images(tmp_path, None), [0])[0], textured(1)[0]
        )
        return
    with pytest.raises(DecodeError, match=r"1\.tif.*rotated"):
        luma(tmp_path, index_images(tmp_path, None), [0])


def test_images_that_are_mirrored_in_part_are_refused(tmp_path: Path) -> None:
    for number, orientation in enumerate((2, 2, 4, 3)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(textured(1)[0]).save(tmp_path / f"{number}.png", exif=exif)
    index = index_images(tmp_path, None)
    assert len(luma(tmp_path, index, [0, 1, 2])) == 3
    with pytest.raises(DecodeError, match=r"3\.png.*mirrored"):
        luma(tmp_path, index, [3])
