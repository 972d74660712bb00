"""Frames must be whole when the backbone reads them, also where the GPU lags behind."""

from pathlib import Path

import numpy as np
import pytest
import torch

from featstore import Store
from pipeline.build.extract import extractor as extractor_module
from pipeline.build.extract.extractor import Extractor
from tests.builds import build, options_of, row
from tests.late_gpu import CPU, Pixels, compute_pixels
from tests.videos import write_table, write_video

FRAMES, ROUNDS = 48, {"cpu": 1, "cuda": 10}
LAG = 2_000_000  # cycles: about a millisecond, in which other frames are uploaded
KINDS = {"frames": "squeezenet1_1", "windows": "r3d_18"}


class LaggingPixels(Pixels):
    """Reads its frames late."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_cuda:
            torch.cuda._sleep(LAG)
        return super().forward(x)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of videos in which every frame is another one's opposite: bright or dark."""
    folder, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    rows = []
    for part in ("train", "val", "test"):
        light = np.where(np.arange(FRAMES) % 2, 170, 40)[:, None, None]
        pictures = (light + rng.integers(0, 40, (FRAMES, 106, 128))).astype(np.uint8)
        name = f"{part}.mkv"
        write_video(folder / name, pictures, codec="ffv1", pixel_format="gray")
        rows.append(row(name, 0, FRAMES, part))
    return write_table(folder / "clips.csv", rows)


def pixels_of(data: Path, stores: Path, kind: str, **more: object) -> Store:
    options = {"size": 96, "normalise": "0.4,0.2", "window": 4, "hop": 1, "batch_size": 8}
    return build(options_of(data, stores, backbone=KINDS[kind], **options, **more))


@pytest.mark.parametrize("kind", KINDS)
def test_no_frame_is_half_written(
    noise: Path, tmp_path: Path, device: torch.device, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        compute_pixels(patch, CPU)
        expected = np.concatenate(list(pixels_of(noise, tmp_path / "cpu", kind)))
    compute_pixels(monkeypatch, device, LaggingPixels())
    monkeypatch.setattr(extractor_module, "BLOCK_FRAMES", {"cpu": 1, "cuda": 2})
    joined = Extractor._joined

    def joined_late(self: Extractor, window: list[torch.Tensor | str]) -> torch.Tensor | str:
        if device.type == "cuda":
            torch.cuda._sleep(LAG)
        return joined(self, window)

    monkeypatch.setattr(Extractor, "_joined", joined_late)
    for number in range(ROUNDS[device.type]):
        more = {"device": str(device), "workers": 8}
        store = pixels_of(noise, tmp_path / f"round{number}", kind, **more)
        # Bright and dark frames are 2.5 apart.
        np.testing.assert_allclose(np.concatenate(list(store)), expected, atol=1e-3)
