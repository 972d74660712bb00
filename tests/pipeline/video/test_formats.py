"""Pictures of ordinary formats, against Pillow."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.video.decode import decode
from pipeline.video.errors import DecodeError
from pipeline.video.grey import looks_grey
from pipeline.video.images import index_images
from pipeline.video.index import VideoIndex, read_index
from pipeline.video.tiff import pixel_tags_only
from tests.videos import luma, textured, write_video

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (16, 1))
COLOUR = np.stack([RAMP, RAMP[::-1, ::-1] // 2, np.roll(RAMP, 20, 1)], axis=2)
GREY_PALETTE = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, axis=1) | np.array(
    [255, 0, 0, 0], np.uint8
)


def scaled(path: Path, index: VideoIndex, mode: Any) -> np.ndarray:
    """Return the first picture, in 0..255."""
    found = next(decode(path, index, np.arange(1), mode))[1].astype(float)
    if found.dtype == np.uint16 or (index.bits > 8 and mode == "luma"):
        return found * 255 / (2**index.bits - 1)
    limited = mode == "luma" and index.pixel_range == "limited"
    return ((found - 16) / 219 * 255).clip(0, 255) if limited else found


def write_palette_avi(path: Path, picture: np.ndarray, palette: np.ndarray) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("rawvideo", rate=10)
        stream.height, stream.width = picture.shape
        stream.pix_fmt = "pal8"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray((picture, palette), "pal8")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


class TestPalette:
    @pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif"])
    @pytest.mark.parametrize("mode", ["luma", "rgb"])
    def test_images(self, tmp_path: Path, suffix: str, mode: Any) -> None:
        picture = Image.fromarray(COLOUR).quantize(200)
        picture.save(tmp_path / f"1{suffix}")
        expected = np.asarray(picture.convert("RGB").convert("L" if mode == "luma" else "RGB"))
        found = scaled(tmp_path, index_images(tmp_path, None), mode)
        np.testing.assert_allclose(found, expected, atol=1)

    @pytest.mark.parametrize("suffix", [".bmp", ".avi"])
    def test_grey(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"1{suffix}"
        if suffix == ".avi":
            index = read_index(write_palette_avi(path, RAMP, GREY_PALETTE))
        else:
            Image.fromarray(RAMP).save(path)
            path, index = tmp_path, index_images(tmp_path, None)
        assert (index.pixel_format, index.pixel_range, index.palette) == ("pal8", "full", True)
        np.testing.assert_allclose(luma(path, index, [0])[0].astype(int), RAMP, atol=1)

    def test_a_palette_of_png_states_its_range(self, tmp_path: Path) -> None:
        Image.fromarray(RAMP).convert("P").save(tmp_path / "1.png")
        assert not index_images(tmp_path, None).palette


def tagged(path: Path, tags: dict[int, tuple[int, ...]]) -> Path:
    """Add tags of 16-bit numbers to a TIFF."""
    data = path.read_bytes()
    order = "<" if data[:2] == b"II" else ">"
    begin = struct.unpack_from(f"{order}I", data, 4)[0]
    count = struct.unpack_from(f"{order}H", data, begin)[0]
    entries = {}
    for at in range(begin + 2, begin + 2 + 12 * count, 12):
        entries[struct.unpack_from(f"{order}H", data, at)[0]] = data[at : at + 12]
    values = b""
    table = len(data) + len(data) % 2
    end = table + 6 + 12 * len({*entries, *tags})
    for tag, numbers in tags.items():
        packed = struct.pack(f"{order}{len(numbers)}H", *numbers)
        if len(packed) > 4:
            packed, values = struct.pack(f"{order}I", end + len(values)), values + packed
        entries[tag] = struct.pack(f"{order}HHI", tag, 3, len(numbers)) + packed.ljust(4, b"\0")
    body = struct.pack(f"{order}H", len(entries)) + b"".join(
        entries[tag] for tag in sorted(entries)
    )
    data = data[:4] + struct.pack(f"{order}I", table) + data[8:].ljust(table - 8, b"\0")
    path.write_bytes(data + body + bytes(4) + values)
    return path


TIFFS = {
    "grey": RAMP,
    "16 bits": RAMP.astype(np.uint16) * 256 + 5,
    "RGB": COLOUR,
    "16 bits, big-endian": RAMP.astype(">u2") * 256 + 5,
}


class TestTiff:
    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
    @pytest.mark.parametrize("kind", TIFFS)
    def test_foreign_tags(self, tmp_path: Path, kind: str, compression: str) -> None:
        picture = TIFFS[kind]
        path = tmp_path / "1.tif"
        Image.fromarray(picture).save(path, compression=compression)
        # The sample format of every channel, as of OpenCV, and a tag that nobody knows.
        tagged(path, {339: (1,) * (picture.ndim * 2 - 3), 65000: (1, 2, 3, 4)})
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), picture)
        index = index_images(tmp_path, None)
        mode: Any = "rgb" if picture.ndim == 3 else "luma"
        found = next(decode(tmp_path, index, np.arange(1), mode))[1]
        np.testing.assert_array_equal(found, picture)

    @pytest.mark.parametrize("formats", [(2,), (3, 3, 3)])
    def test_other_numbers_are_refused(self, tmp_path: Path, formats: tuple[int, ...]) -> None:
        Image.fromarray(RAMP if len(formats) == 1 else COLOUR).save(tmp_path / "1.tif")
        tagged(tmp_path / "1.tif", {339: formats})
        with pytest.raises(DecodeError, match=r"1\.tif.*signed"):
            luma(tmp_path, index_images(tmp_path, None), [0])

    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    def test_damage_is_an_error(self, tmp_path: Path, compression: str, share: float) -> None:
        for number in (1, 2):
            path = tmp_path / f"{number}.tif"
            Image.fromarray(textured(1, 64, 64)[0]).save(path, compression=compression)
            tagged(path, {339: (1,)})
        whole = path.read_bytes()
        index = index_images(tmp_path, None)
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DecodeError) as caught:
            luma(tmp_path, index, [0, 1])
        assert caught.value.frame == 1

    def test_other_files_stay_as_they_are(self) -> None:
        for data in (b"", b"II*\0", b"II*\0\x08\0\0\0\x09\0", b"\x89PNG"):
            assert pixel_tags_only(data) == data


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_has_no_colour(tmp_path: Path, bits: int) -> None:
    counts = (7300 + 4 * RAMP.astype(np.uint16)) if bits == 16 else RAMP
    Image.fromarray(counts).save(tmp_path / "1.png")
    assert looks_grey(tmp_path, index_images(tmp_path, None))


def test_colour_of_10_bits_is_colour(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mkv", np.stack([COLOUR] * 2), codec="ffv1", pixel_format="yuv444p10le"
    )
    assert not looks_grey(path, read_index(path))
