import subprocess
import sys

import pytest
import torch

from models.backbones import build_backbone
from models.catalogue import BACKBONES
from models.operators import declare_missing_operators
from tests.reference import last_layer

declare_missing_operators()
import torchvision  # noqa: E402


@pytest.mark.parametrize("name", BACKBONES)
def test_catalogue_agrees_with_torchvision(name: str) -> None:
    spec = BACKBONES[name]
    known = torchvision.models.get_model_weights(name)
    files = {weights.name: weights.url.rpartition("/")[2] for weights in known}
    assert spec.weights
    assert spec.weights.items() <= files.items()
    assert list(spec.weights)[-1] == known.DEFAULT.name

    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # regnet computes its widths
        network = torchvision.models.get_model(name, weights=None)
    layer, module = last_layer(network)
    assert spec.classifier == layer
    assert spec.dim == module.weight.shape[1]
    assert (spec.kind == "video") == any(isinstance(m, torch.nn.Conv3d) for m in network.modules())


def takes(network: torch.nn.Module, kind: str, window: int, size: int) -> bool:
    """Whether a network on the meta device takes windows, or pictures, of a size."""
    shape = (2, 3, window, size, size) if kind == "video" else (2, 3, size, size)
    try:
        network(torch.empty(shape, device="meta"))
    except (RuntimeError, AssertionError):  # torchvision's ViT asserts
        return False
    return True


@pytest.mark.parametrize("name", BACKBONES)
def test_sizes_and_windows_of_the_catalogue_are_those_that_networks_take(name: str) -> None:
    spec = BACKBONES[name]
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # regnet computes its widths
        network = build_backbone(name).network.to("meta")
    size, window = spec.size or 224, spec.window or 16
    assert takes(network, spec.kind, window, size)
    for longer in (1, 16):
        assert takes(network, spec.kind, window, size + longer) == (spec.size is None)
        if spec.kind == "video":
            assert takes(network, spec.kind, window + longer, size) == (spec.window is None)
    if spec.size is None:
        assert takes(network, spec.kind, window, spec.min_size)
        assert spec.min_size == 1 or not takes(network, spec.kind, window, spec.min_size - 1)
    if spec.kind == "video" and spec.window is None:
        assert takes(network, spec.kind, spec.min_window, size)
        assert spec.min_window == 1 or not takes(network, spec.kind, spec.min_window - 1, size)
        assert takes(network, spec.kind, spec.min_window, spec.min_size)


def test_mvit_itself_does_not_refuse_windows_that_it_was_not_made_for() -> None:
    network = build_backbone("mvit_v2_s").network.to("meta")
    assert takes(network, "video", 15, 221)
    assert takes(network, "video", 4, 448)  # as many tokens as 16 frames of 224 x 224


@pytest.mark.parametrize("name", ["squeezenet1_1", "r3d_18"])
def test_frozen_and_in_evaluation_mode(name: str) -> None:
    backbone = build_backbone(name)
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    shape = (2, 3, 4, 32, 32) if name == "r3d_18" else (2, 3, 32, 32)
    found = backbone(torch.rand(shape))
    assert found.shape == (2, BACKBONES[name].dim)


def test_seed_decides_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    states = [build_backbone("squeezenet1_1", seed).state_dict() for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected)
    name = "network.features.0.weight"
    assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0][name], states[2][name])


def whole(name: str, classes: int = 1000) -> dict[str, torch.Tensor]:
    """Tensors of a whole network, classifier included."""
    torch.manual_seed(3)
    return dict(torchvision.models.get_model(name, weights=None, num_classes=classes).state_dict())


@pytest.mark.parametrize("classifier", ["own", "of 7 classes", "missing"])
def test_load(classifier: str) -> None:
    tensors = whole("squeezenet1_1", 7 if classifier == "of 7 classes" else 1000)
    if classifier == "missing":
        tensors = {k: v for k, v in tensors.items() if not k.startswith("classifier")}
    backbone = build_backbone("squeezenet1_1", 1)
    backbone.load(tensors)
    loaded = backbone.network.state_dict()
    assert loaded
    assert all(torch.equal(value, tensors[name]) for name, value in loaded.items())


def test_load_lists_what_does_not_fit() -> None:
    backbone = build_backbone("resnet18")
    before = backbone.network.conv1.weight.clone()
    tensors = whole("resnet18")
    del tensors["layer1.0.conv1.weight"], tensors["bn1.running_mean"]
    tensors["layer9.weight"] = torch.zeros(3)
    tensors["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    with pytest.raises(ValueError, match="2 missing") as caught:
        backbone.load(tensors)
    assert str(caught.value) == (
        "2 missing: bn1.running_mean, layer1.0.conv1.weight; 1 unknown: layer9.weight; "
        "1 other shape: conv1.weight (64, 1, 7, 7) for (64, 3, 7, 7)"
    )
    assert torch.equal(backbone.network.conv1.weight, before)


def test_load_of_another_architecture() -> None:
    with pytest.raises(ValueError, match=r"\d+ missing: .* and \d+ more; \d+ unknown: "):
        build_backbone("resnet18").load(whole("squeezenet1_1"))


def test_old_files_lack_the_counters_of_batch_norm() -> None:
    tensors = {k: v for k, v in whole("resnet18").items() if "num_batches_tracked" not in k}
    build_backbone("resnet18").load(tensors)


@pytest.mark.parametrize("name", ["resnet19", "timm:no_such_model"])
def test_unknown(name: str) -> None:
    with pytest.raises(ValueError, match="no"):
        build_backbone(name)


def test_timm_classifier_may_be_there() -> None:
    timm = pytest.importorskip("timm")
    tensors = timm.create_model("test_resnet", num_classes=9).state_dict()
    build_backbone("timm:test_resnet").load(tensors)


def test_catalogue_does_not_import_torch() -> None:
    code = "import sys, models.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
