"""Folders of numbered images, decoded as videos."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.sources.files import is_image_folder
from pipeline.video.cache import content_hash, signature
from pipeline.video.decode import decode
from pipeline.video.errors import DecodeError
from pipeline.video.images import index_images, numbered_images
from tests.videos import (
    encoded_image,
    luma,
    off,
    textured,
    write_images,
)


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
        with pytest.raises(DecodeError, match=r"2.webp is yuv420p, 8 bits"):
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

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
    @pytest.mark.parametrize("pictures", [1, 3])
    def test_an_image_of_several_pictures_is_refused(
        self, tmp_path: Path, kind: str, pictures: int
    ) -> None:
        suffix = ".png" if kind == "GIF" else f".{kind.lower()}"
        frames = [Image.new("RGB", (32, 24), (own * 80, 90, 20)) for own in range(pictures)]
        frames[0].save(tmp_path / f"1{suffix}", kind)
        frames[0].save(tmp_path / f"2{suffix}", kind, save_all=True, append_images=frames[1:])
        index = index_images(tmp_path, None)
        if pictures == 1:
            assert len(luma(tmp_path, index, [0, 1])) == 2
            return
        with pytest.raises(DecodeError, match=rf"2{suffix}.*several"):
            luma(tmp_path, index, [0, 1])

    @pytest.mark.parametrize(("kind", "refused"), [(0, True), (1, False), (4, False)])
    def test_a_thumbnail_behind_a_page_of_tiff_is_none(
        self, tmp_path: Path, kind: int, refused: bool
    ) -> None:
        page, thumbnail = Image.new("L", (32, 24), 90), Image.new("L", (8, 6), 90)
        thumbnail.encoderinfo = {"tiffinfo": {254: kind}}
        page.save(tmp_path / "1.tif", save_all=True, append_images=[thumbnail])
        index = index_images(tmp_path, None)
        if refused:
            with pytest.raises(DecodeError, match="holds several pictures"):
                luma(tmp_path, index, [0])
        else:
            assert luma(tmp_path, index, [0])[0].shape == (24, 32)

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


def test_the_helper_writes_real_images() -> None:
    picture = textured(1)[0]
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(encoded_image(picture)))), picture
    )


LEFT_BEHIND = ("._frame_0001.png", ".frame_0007.png", "Thumbs.db", "desktop.ini", ".DS_Store")


def test_what_systems_leave_behind_is_no_image(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", textured(2))
    alone = content_hash(folder), signature(folder), numbered_images(folder)
    for name in LEFT_BEHIND:
        (folder / name).write_bytes(b"\0\5\x16\7")
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "frame_0009.png").write_bytes(b"thumbnail")
    assert (content_hash(folder), signature(folder), numbered_images(folder)) == alone
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "._1.png").touch()
    assert is_image_folder(folder)
    assert not is_image_folder(tmp_path / "empty")
