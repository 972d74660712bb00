"""Builds with another decoder: other keys, the same features where pixels are the same."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featstore.errors import InputError
from pipeline.build.extract import backbone as backbone_module
from pipeline.build.summary import describe
from pipeline.video import decoders as decoders_module
from pipeline.video import torchcodec as torch_decode
from pipeline.video.decode import decode
from pipeline.video.decoders import versions
from pipeline.video.index import read_index
from pipeline.video.modes import DECODERS
from tests.builds import build, options_of, plan_of, row, write_dataset
from tests.videos import textured, write_video

# No AVI, whose B-frames torchcodec does not find again.
ROWS = [
    row("train.mp4", 0, 10, "train"),
    row("train.mp4", 4, 16, "train", "b"),
    row("val.mkv", 3, 20, "val", "b"),
    row("val.mkv", 20, 24, "test"),
]


class NoFallback:
    """What torchcodec says where a GPU decoded."""

    status_known = True

    def __bool__(self) -> bool:
        return False


class ByPyAV:
    """What torchcodec's VideoDecoder on a GPU is to a build, but its frames are PyAV's."""

    def __init__(self, path: Path) -> None:
        self.cpu_fallback = NoFallback()
        self._index = read_index(path)
        every = decode(path, self._index, np.arange(len(self._index)), "rgb")
        self._frames = torch.stack([torch.from_numpy(picture) for _, picture in every])

    def __len__(self) -> int:
        return len(self._frames)

    def get_frames_at(self, numbers: list[int]):
        seconds = self._index.pts[numbers] * float(self._index.time_base)
        return SimpleNamespace(data=self._frames[numbers], pts_seconds=torch.from_numpy(seconds))


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchcodec be there, on a GPU."""

    def said(name: str) -> dict[str, str]:
        return {} if name == "pyav" else {"torchcodec": "made up"}

    monkeypatch.setattr(decoders_module, "versions", said)
    monkeypatch.setattr(backbone_module, "versions", said)
    monkeypatch.setattr(torch_decode, "_decoder", lambda path, stream, device: ByPyAV(path))


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "r3d_18"])
def test_tensors_of_a_decoder_give_the_same_features(tmp_path, made_up, backbone) -> None:
    data = write_dataset(tmp_path / "data", ROWS)
    more = {"pixels": "rgb", "backbone": backbone, "window": 4, "hop": 3, "batch_size": 2}
    expected = build(options_of(data, tmp_path / "features", **more))
    store = build(options_of(data, tmp_path / "features", decoder="torchcodec:cuda", **more))
    assert store.path != expected.path
    assert store.attributes["statistics"] == expected.attributes["statistics"]
    np.testing.assert_array_equal(np.concatenate(list(store)), np.concatenate(list(expected)))
    assert "torchcodec" not in expected.attributes["numerics"]
    assert store.attributes["numerics"]["torchcodec"] == "made up"
    assert store.attributes["features"]["decoder"] == "torchcodec:cuda"


def test_statistics_are_kept_for_each_decoder(tmp_path, made_up, monkeypatch) -> None:
    data = write_dataset(tmp_path / "data", ROWS)
    build(options_of(data, tmp_path / "features", pixels="rgb"))
    asked = []
    opened = torch_decode._decoder
    monkeypatch.setattr(
        torch_decode, "_decoder", lambda *given: (asked.append(1), opened(*given))[1]
    )
    build(options_of(data, tmp_path / "features", pixels="rgb", decoder="torchcodec:cuda"))
    once = len(asked)
    more = {"decoder": "torchcodec:cuda", "size": 48}
    build(options_of(data, tmp_path / "features", pixels="rgb", **more))
    assert len(asked) - once == once - 1  # but the training video for the statistics


def test_every_decoder_has_keys_of_its_own(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", ROWS)
    options = [options_of(data, tmp_path, pixels="rgb", decoder=name) for name in DECODERS]
    assert len({plan_of(own).key for own in options}) == 3
    for own in options:
        lines = "\n".join(describe(plan_of(own)))
        assert ("does not detect damaged frames" in lines) is (own.decoder != "pyav")


@pytest.mark.parametrize(("pixels", "warned"), [("rgb", True), ("luma", False)])
def test_rgb_of_deep_grey_is_warned_of(tmp_path: Path, pixels: str, warned: bool) -> None:
    data = write_dataset(tmp_path / "data", ROWS)
    deep = textured(24).astype(np.uint16) * 257
    for name in ("train.mp4", "val.mkv"):
        path = write_video(tmp_path / "deep.mkv", deep, codec="ffv1", pixel_format="gray16le")
        path.replace(data.parent / name)
    lines = list(describe(plan_of(options_of(data, tmp_path, pixels=pixels))))
    assert any("2 of 2 videos" in line and "with 16" in line for line in lines) is warned
    assert any("--pixels luma" in line for line in lines) is warned


def test_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", ROWS)
    with pytest.raises(InputError, match="torchcodec:cpu, torchcodec:cuda"):
        options_of(data, tmp_path, decoder="torchcodec")
    with pytest.raises(InputError, match=r"--decoder is torchcodec:cuda.*--pixels"):
        options_of(data, tmp_path, decoder="torchcodec:cuda")


def test_no_decoder_takes_anothers_place(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    data = write_dataset(tmp_path / "data", ROWS)
    for normalise in ("split", "imagenet"):
        options = options_of(
            data, tmp_path / "f", pixels="rgb", decoder="torchcodec:cpu", normalise=normalise
        )
        with pytest.raises(InputError, match="needs torchcodec: pip install"):
            build(options)


def test_torchcodec_itself(tmp_path: Path) -> None:
    try:
        versions("torchcodec:cpu")
    except InputError as error:
        pytest.skip(str(error))
    data = write_dataset(tmp_path / "data", ROWS)
    expected = build(options_of(data, tmp_path / "features", pixels="rgb"))
    store = build(options_of(data, tmp_path / "features", pixels="rgb", decoder="torchcodec:cpu"))
    assert store.path != expected.path
    np.testing.assert_array_equal(np.concatenate(list(store)), np.concatenate(list(expected)))
    damaged = write_dataset(tmp_path / "more", [*ROWS, row("test.avi", 0, 24, "test")])
    options = options_of(
        damaged, tmp_path / "features", pixels="rgb", decoder="torchcodec:cpu", max_failures="1"
    )
    with_failed = build(options)
    assert list(with_failed.attributes["failed"]) == ["test#0-24"]
