from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.build.extract.preprocess import fit_square, pixel_values, prepare
from pipeline.build.extract.resize import resize
from pipeline.video.index import VideoIndex
from tests.reference import fitted

CPU = torch.device("cpu")
FRAME = np.arange(1)


def index_of(pixel_range: str = "full", bits: int = 8) -> VideoIndex:
    return VideoIndex(FRAME, FRAME, Fraction(1), 1, 8, 8, "gray", bits, pixel_range)


@pytest.mark.parametrize(
    ("pixel_range", "dtype", "bits", "values", "expected"),
    [
        ("full", np.uint8, 8, [0, 51, 255], [0, 0.2, 1]),
        ("limited", np.uint8, 8, [0, 16, 125.5 // 1, 235, 255], [0, 0, 109 / 219, 1, 1]),
        ("full", np.uint16, 10, [0, 341, 1023], [0, 1 / 3, 1]),
        ("full", np.uint16, 16, [0, 13107, 40000, 65535], [0, 0.2, 40000 / 65535, 1]),
    ],
)
def test_values(pixel_range, dtype, bits, values, expected) -> None:
    pictures = np.array(values, dtype).reshape(1, 1, -1)
    own, offset, span = pixel_values(pictures, index_of(pixel_range, bits), CPU)
    found = (own - offset) / span
    assert found.shape == (1, 1, 1, len(values))
    np.testing.assert_allclose(found.flatten(), expected, rtol=1e-6)


def test_rgb_is_full_range_whatever_luma_is() -> None:
    pictures = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)
    values, offset, span = pixel_values(pictures, index_of("limited"), CPU)
    found = (values - offset) / span
    assert found.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(found.flatten(), [0, 0.2, 1], rtol=1e-6)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (33, 97), (20, 20), (5, 7), (32, 6)])
@pytest.mark.parametrize("size", [32, 15])
def test_fit_equals_a_slow_reference(fit, shape, size) -> None:
    pixels = np.random.default_rng(0).random(shape)
    values = torch.from_numpy(pixels.astype(np.float32))[None, None]
    found = fit_square(values, size, fit)[0, 0].numpy()
    assert found.shape == (size, size)
    np.testing.assert_allclose(found, fitted(pixels, size, fit), atol=2e-5)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(15, 40), (33, 97), (64, 20), (33, 40)])
def test_resizing_is_torchs(shape: tuple[int, int], mode) -> None:
    values = torch.rand(2, 3, 33, 40, generator=torch.Generator().manual_seed(0)) * 255
    found = resize(values, *shape, mode)
    expected = functional.interpolate(values, shape, mode=mode, antialias=True)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)
    for frame, channel in np.ndindex(2, 3):
        alone = resize(values[frame, channel][None, None], *shape, mode)
        assert torch.equal(found[frame, channel], alone[0, 0])
    assert torch.equal(resize(values, 33, 40, mode), values)


@pytest.mark.parametrize("channels", [1, 3])
def test_pad_borders_are_zero_after_normalisation(channels: int) -> None:
    pictures = np.full((2, 10, 40) + ((3,) if channels == 3 else ()), 255, np.uint8)
    found = prepare(
        pictures,
        index_of(),
        size=40,
        fit="pad",
        mean=[0.25] * channels,
        std=[0.5] * channels,
        device=CPU,
    )
    assert found.shape == (2, 3, 40, 40)
    assert float(found[:, :, :15].abs().max()) == 0
    assert float(found[:, :, 25:].abs().max()) == 0
    np.testing.assert_allclose(found[:, :, 15:25], 1.5, rtol=1e-6)


def test_each_channel_has_its_own_statistics() -> None:
    pictures = np.full((1, 4, 4, 3), 255, np.uint8)
    options = {"size": 4, "fit": "squash", "device": CPU}
    found = prepare(pictures, index_of(), mean=[0.5, 0.4, 0], std=[0.5, 0.2, 2], **options)
    np.testing.assert_allclose(found[0, :, 0, 0], [1, 3, 0.5], rtol=1e-6)
    grey = prepare(pictures[..., 0], index_of(), mean=[0.5, 0.4, 0], std=[0.5, 0.2, 2], **options)
    np.testing.assert_array_equal(grey, found)
    one = prepare(pictures[..., 0], index_of(), mean=[0.5], std=[0.25], **options)
    np.testing.assert_allclose(one, np.full((1, 3, 4, 4), 2), rtol=1e-6)
