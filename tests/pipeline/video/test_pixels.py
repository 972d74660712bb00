"""Luma and RGB of every format in which FFmpeg keeps values, of ramps that are known."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.video.decode import decode
from pipeline.video.index import read_index
from pipeline.video.pixels import Converter, value_scale
from tests.videos import luma

RAMP = np.tile(np.linspace(4096, 60160, 64).astype(np.uint16), (16, 1))
HIGH = [f"p{kind}{bits}le" for kind in "024" for bits in (10, 12, 16)]
HIGH += [f"yuv444p{bits}msb{end}" for bits in (10, 12) for end in ("le", "be")]
PACKED = ["y210le", "y212le", "y216le", "xv30le", "xv36le", "xv36be", "xv48le", "v30xle"]
PACKED += ["ayuv64le", "ayuv64be"]
PACKED_8 = ["yuyv422", "uyvy422", "yvyu422", "ayuv", "vuya", "vuyx", "uyva", "vyu444"]


def ramp(pixel_format: str) -> Any:
    """Return a frame of a grey ramp."""
    return av.VideoFrame.from_ndarray(RAMP, "gray16le").reformat(format=pixel_format)


def write_raw(path: Path, frame: Any, codec: str = "rawvideo") -> Path:
    """Encode one frame without loss."""
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def planar(pixel_format: str) -> np.ndarray:
    """Return the luma of the ramp in planar YUV of the same bits."""
    bits = av.VideoFormat(pixel_format).components[0].bits
    frame = ramp("yuv444p" if bits <= 8 else f"yuv444p{bits}le")
    plane = np.frombuffer(frame.planes[0], np.uint8 if bits <= 8 else np.uint16)
    return plane.reshape(frame.height, -1)[:, : frame.width]


@pytest.mark.parametrize("pixel_format", HIGH + PACKED)
def test_luma_of_any_packing_is_that_of_planes(pixel_format: str) -> None:
    index: Any = SimpleNamespace(mirrored=False)
    picture = Converter("luma", index).picture(ramp(pixel_format))
    np.testing.assert_array_equal(picture, planar(pixel_format))


@pytest.mark.parametrize("pixel_format", PACKED_8)
def test_luma_of_packed_bytes_is_that_of_planes(pixel_format: str) -> None:
    index: Any = SimpleNamespace(mirrored=False)
    frame = ramp("yuv444p").reformat(format=pixel_format)
    picture = Converter("luma", index).picture(frame)
    np.testing.assert_array_equal(picture, planar(pixel_format))


@pytest.mark.parametrize(
    ("pixel_format", "codec", "suffix"),
    [
        ("yuv422p10le", "v210", "mov"),
        ("yuv444p10le", "v410", "mov"),
        ("y210le", "rawvideo", "nut"),
        ("xv30le", "rawvideo", "nut"),
        ("v30xle", "rawvideo", "nut"),
        ("xv48le", "rawvideo", "nut"),
        ("yuyv422", "rawvideo", "mov"),
        ("uyvy422", "rawvideo", "mov"),
        ("yuv420p12le", "ffv1", "mkv"),
        ("gray10le", "ffv1", "mkv"),
        ("gray16le", "ffv1", "mkv"),
    ],
)
def test_values_of_files_have_the_range_of_their_index(
    tmp_path: Path, pixel_format: str, codec: str, suffix: str
) -> None:
    """YUV of 8 bits is limited; values of more bits divide by the largest."""
    path = write_raw(tmp_path / f"a.{suffix}", ramp(pixel_format), codec)
    index = read_index(path)
    picture = luma(path, index, [0])[0]
    offset, span = value_scale(index, "luma", picture.dtype)
    expected = RAMP / 65535
    if index.bits > 8 and not pixel_format.startswith("gray"):
        expected = (16 + 219 * expected) * 2 ** (index.bits - 8) / (2**index.bits - 1)
    assert offset + span <= np.iinfo(picture.dtype).max
    np.testing.assert_allclose((picture - float(offset)) / span, expected, atol=0.006)


@pytest.mark.parametrize("pixel_format", ["ya16le", "xyz12le"])
def test_grey_with_alpha_and_xyz_are_grey_in_full_range(pixel_format: str) -> None:
    index: Any = SimpleNamespace(mirrored=False)
    picture = Converter("luma", index).picture(ramp(pixel_format))
    np.testing.assert_allclose(picture / np.iinfo(picture.dtype).max, RAMP / 65535, atol=0.006)


@pytest.mark.parametrize("pixel_format", ["rgb555be", "rgb565be", "bgr555be", "rgb555le"])
def test_rgb_of_two_bytes(tmp_path: Path, pixel_format: str) -> None:
    path = write_raw(tmp_path / "a.nut", ramp(pixel_format))
    [(_, rgb)] = decode(path, read_index(path), np.array([0]), "rgb")
    expected = np.broadcast_to(RAMP[..., None] / 65535, rgb.shape)
    np.testing.assert_allclose(rgb / 255, expected, atol=0.07)  # dithered


def test_grey_of_floating_point_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(b"Pf\n64 16\n-1.0\n" + (RAMP / 65535).astype("<f4").tobytes())
    with pytest.raises(InputError, match="grayf32le"):
        read_index(path)
