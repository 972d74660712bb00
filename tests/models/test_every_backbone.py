"""What stores rely on, for every backbone of the catalogue."""

import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from models.backbones import (
    Backbone,
    BatchNorm,
    build_backbone,
    fold_batch_norm,
    to_single_channel,
)
from models.catalogue import BACKBONES
from models.operators import declare_missing_operators
from models.pointwise import OneDNN, pointwise_by_onednn
from tests.networks import shallow_vit, with_options

declare_missing_operators()
import torchvision  # noqa: E402

FRAMES = {"s3d": 13}
# The others have the CPU's default: 8 pictures or 4 windows.
BATCHES = {"vit_b_16": 2, "s3d": 2, "efficientnet_b0": 16}
# Each has the layers of a smaller one, more of them or wider.
LARGER = {"resnet50", "mobilenet_v3_large", "mc3_18"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As stores are compared: how threads share a tensor can decide the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_s3d(**options: Any) -> nn.Module:
    network = torchvision.models.video.S3D(**options)
    network.avgpool = nn.AvgPool3d((2, 2, 2), stride=1)
    return network


@pytest.fixture(scope="module", autouse=True)
def small_networks() -> Iterator[None]:
    """Networks for pictures of 64 x 64, and two layers of a transformer: a tenth of the work."""
    mvit = torchvision.models.video.mvit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*with_options(mvit, "_mvit", spatial_size=(64, 64), temporal_size=4))
        patch.setattr(*shallow_vit(image_size=64))
        # The package names its function as its module.
        patch.setattr(sys.modules["torchvision.models.video.s3d"], "S3D", small_s3d)
        yield


def each(names: Iterable[str]) -> Any:
    """Run a test on some backbones; all tests of one run one after the other."""
    return pytest.mark.parametrize("name", list(names), indirect=True, scope="module")


every, distinct = each(BACKBONES), each(name for name in BACKBONES if name not in LARGER)


@pytest.fixture(scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def built(name: str) -> Backbone:
    """Built once for its tests, which leave it as it is."""
    return build_backbone(name)


def grey(name: str, batch: int, seed: int = 0) -> torch.Tensor:
    """Normalised grey pictures, or windows of them."""
    frames = [FRAMES.get(name, 4)] if BACKBONES[name].kind == "video" else []
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 1, *frames, 64, 64, generator=generator)


def repeated(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x, x], dim=1)


def relative_deviation(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm(dim=1) / expected.norm(dim=1)).max().item()


@distinct
@torch.inference_mode()
def test_features_do_not_depend_on_the_others_of_a_batch(name: str, built: Backbone) -> None:
    windowed = BACKBONES[name].kind == "video"
    form = torch.channels_last_3d if windowed else torch.channels_last
    backbone = pointwise_by_onednn(deepcopy(built)).to(memory_format=form)
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())

    batch = BATCHES.get(name, 4 if windowed else 8)
    x, other = (
        grey(name, 3 * batch, seed).unflatten(0, (batch, 3)).flatten(1, 2) for seed in (0, 1)
    )
    expected = backbone(x.contiguous(memory_format=form))
    assert expected.shape == (batch, BACKBONES[name].dim)
    assert len({tuple(row.tolist()) for row in expected}) == batch
    for places in (1, batch // 2):
        found = backbone(x.roll(places, 0).contiguous(memory_format=form))
        assert torch.equal(found, expected.roll(places, 0))
    other[1], other[2:] = x[1], 0  # zeros fill the last batch
    assert torch.equal(backbone(other.contiguous(memory_format=form))[1], expected[1])


@every
def test_weights_go_through_safetensors(name: str, built: Backbone) -> None:
    torch.manual_seed(3)
    whole = torchvision.models.get_model(name, weights=None, num_classes=7).state_dict()
    read = safetensors.torch.load(safetensors.torch.save(dict(whole)))
    classifier = BACKBONES[name].classifier + "."
    headless = {key: value for key, value in read.items() if not key.startswith(classifier)}
    assert 1 <= len(read) - len(headless) <= 2
    backbone = deepcopy(built)
    own = backbone.network.state_dict()
    for tensors in (headless, read):
        for value in own.values():
            value.zero_()
        backbone.load(tensors)
        assert own.keys() == headless.keys()
        assert all(torch.equal(value, whole[key]) for key, value in own.items())


@distinct
@torch.inference_mode()
def test_one_channel_gives_what_three_equal_channels_give(name: str, built: Backbone) -> None:
    three = deepcopy(built)
    one = to_single_channel(three)
    assert (three.channels, one.channels) == (3, 1)
    x = grey(name, 1)
    expected = three(repeated(x))
    assert relative_deviation(one(x), expected) < 1e-5

    exact = three.double()(repeated(x.double()))
    assert relative_deviation(expected.double(), exact) < 1e-5
    assert relative_deviation(to_single_channel(three)(x.double()), exact) < 1e-10


@torch.inference_mode()
def test_zeros_that_are_padded_are_grey_too() -> None:
    """A bright picture, whose borders differ most from the zeros around it."""
    three = build_backbone("squeezenet1_1").double()
    three.network.features = three.network.features[:1]
    three.network.features[0].padding = (3, 3)
    x = torch.full((1, 1, 17, 17), 5.0, dtype=torch.float64)
    found = to_single_channel(three).network.features(x)
    torch.testing.assert_close(found, three.network.features(repeated(x)), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(found[..., 0, 0], found[..., 4, 4])


def test_the_backbone_of_three_channels_is_left_as_it_was() -> None:
    three = build_backbone("mobilenet_v2")
    before = {name: value.clone() for name, value in three.state_dict().items()}
    one = to_single_channel(three)
    after = three.state_dict()
    assert before.keys() == after.keys() == one.state_dict().keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    differ = [name for name in before if one.state_dict()[name].shape != before[name].shape]
    assert differ == ["network.features.0.0.weight"]
    assert not any(parameter.requires_grad for parameter in one.parameters())
    assert not any(module.training for module in one.modules())
    assert to_single_channel(one) is one


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "tf_efficientnet_lite0"])
@torch.inference_mode()
def test_one_channel_of_timm(name: str) -> None:
    pytest.importorskip("timm")
    three = build_backbone(f"timm:{name}").double()
    one = to_single_channel(three)
    assert one.channels == 1
    side = three.network.default_cfg["input_size"][-1]
    x = torch.randn(2, 1, side, side, dtype=torch.float64)
    assert relative_deviation(one(x), three(repeated(x))) < 1e-10


class Standardised(nn.Conv2d):
    """Scales its weights when it runs, so kernels do not add up."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight / self.weight.std(), self.bias)


@pytest.mark.parametrize(
    "network",
    [
        Standardised(3, 4, 3),
        nn.Conv2d(3, 6, 3, groups=3),
        nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 3, 1), nn.Conv2d(3, 4, 1)),
        nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)]),
        nn.Sequential(nn.Flatten(), nn.Linear(48, 4)),
    ],
    ids=["standardised", "grouped", "behind another layer", "two", "linear"],
)
def test_a_first_layer_that_is_no_plain_convolution_stays(network: nn.Module) -> None:
    backbone = Backbone(network, ())
    assert to_single_channel(backbone) is backbone
    assert backbone.channels == 3


@distinct
@torch.inference_mode()
def test_batch_norm_can_be_folded(name: str, built: Backbone) -> None:
    backbone = deepcopy(built)
    norms = [m for m in backbone.modules() if isinstance(m, BatchNorm)]
    for norm in norms:  # as after training, when it does something
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    folded = fold_batch_norm(to_single_channel(backbone))
    x = grey(name, 2)
    assert relative_deviation(folded(x), backbone(repeated(x))) < 1e-5
    assert not [m for m in folded.modules() if isinstance(m, BatchNorm)]
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert (fold_batch_norm(backbone) is backbone) == (not norms)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_nfnet", "test_vit"])
@torch.inference_mode()
def test_batch_norm_of_timm(name: str) -> None:
    pytest.importorskip("timm")
    backbone = build_backbone(f"timm:{name}")
    for norm in (m for m in backbone.modules() if isinstance(m, BatchNorm)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
    size = backbone.network.default_cfg["input_size"][-1]
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert relative_deviation(fold_batch_norm(backbone)(x), backbone(x)) < 1e-5


def test_a_network_that_cannot_be_traced_stays() -> None:
    class Forks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(x)) if x.sum() > 0 else x

    backbone = Backbone(Forks(), ("head",))
    assert fold_batch_norm(backbone) is backbone


def test_a_convolution_that_others_read_stays() -> None:
    class Shares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return (self.norm(y) + y).mean(dim=(2, 3))

    backbone = Backbone(Shares(), ("head",))
    assert fold_batch_norm(backbone) is backbone


def kernels(backbone: Backbone, x: torch.Tensor) -> set[str]:
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, acc_events=True) as profile:  # else 2.11 warns
        backbone(x)
    return {event.key for event in profile.key_averages()}


@distinct
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
@torch.inference_mode()
def test_small_batches_go_to_onednn(name: str, built: Backbone) -> None:
    backbone = built
    sooner = pointwise_by_onednn(backbone)
    assert not any(isinstance(module, OneDNN) for module in backbone.modules())
    x = repeated(grey(name, 2))
    assert relative_deviation(sooner(x), backbone(x)) < 1e-5
    own = {"aten::_slow_conv2d_forward", "aten::slow_conv3d_forward"}
    assert not kernels(sooner, x) & own
    assert (sooner is not backbone) == bool(kernels(backbone, x) & own)


@torch.inference_mode()
def test_only_plain_pointwise_convolutions_go_to_onednn() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(4, 4, 1, groups=2, bias=False),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 1, padding="same"),
        nn.Conv2d(4, 4, 1, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, (1, 3)),
        nn.Conv3d(4, 4, (3, 1, 1)),
        Standardised(4, 4, 1),
    )
    sooner = pointwise_by_onednn(Backbone(network, ()))
    found = [isinstance(layer, OneDNN) for layer in sooner.network]
    assert found == [True, True, True, False, False, False, False, True, False]
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(sooner.network[:7](x), network[:7](x), rtol=1e-5, atol=1e-6)
