"""Vectors of places: their order, their length, and what they have to do with the pooled one."""

import importlib.util
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from models.backbones import Backbone, build_backbone, fold_batch_norm
from models.catalogue import BACKBONES
from models.families import FAMILIES
from models.heads import build_head
from models.hf import build_hf
from models.places import count_places, of_tokens, with_features
from tests.folders import ROOT
from tests.hub_folders import MODELS, WINDOW

LENGTHS = {"mobilenet_v3_small": 576, "mobilenet_v3_large": 960}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_places(name: str) -> None:
    spec = BACKBONES[name]
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # regnet computes its widths
        backbone = build_backbone(name)
    backbone = with_features(backbone, name, "grid:2").to("meta")
    frames = [spec.window or max(4, spec.min_window)] if spec.kind == "video" else []
    found = backbone(torch.empty(2, 3, *frames, 224, 224, device="meta"))
    assert found.shape == (2, 4 * LENGTHS.get(name, spec.dim))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "r3d_18"])
@torch.inference_mode()
def test_the_mean_over_places_is_the_pooled_vector(name: str) -> None:
    """Of networks that average their last map."""
    backbone = fold_batch_norm(build_backbone(name))
    x = torch.rand(2, 3, *([4] if name == "r3d_18" else []), 64, 64)
    pooled = backbone(x)
    torch.testing.assert_close(with_features(backbone, name, "mean")(x), pooled)
    grid = with_features(backbone, name, "grid:2")(x)
    torch.testing.assert_close(grid.view(2, 4, -1).mean(dim=1), pooled)
    tokens = with_features(backbone, name, "tokens")
    assert count_places(tokens, [8, *x.shape[1:]]) == tokens(x).shape[1] // pooled.shape[1]
    with pytest.raises(ValueError, match="no class token"):
        with_features(backbone, name, "cls")(x)


@pytest.mark.parametrize(
    "name", ["resnet10t", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"]
)
def test_models_of_timm(name: str) -> None:
    backbone = build_backbone(f"timm:{name}").to("meta")
    x = torch.empty(2, 3, 224, 224, device="meta")
    dim = backbone(x).shape[1]
    for kind, places in (("mean", 1), ("grid:3", 9), ("tokens", {"vit": 196}.get(name[:3], 49))):
        own = with_features(backbone, f"timm:{name}", kind)
        assert own(x).shape == (2, places * dim)
        assert count_places(own, list(x.shape)) == places


def test_tokens_are_arranged_by_time_and_place() -> None:
    numbers = torch.arange(1 + 2 * 9, dtype=torch.float32)[None, :, None]
    cls, places = of_tokens(numbers, 1, 2)
    assert cls is not None
    assert cls.item() == 0
    assert places[0, 1, 2, 0, 0] == 1 + 9 + 6
    _, places = of_tokens(numbers, 1, 2, frames_last=True)
    assert places[0, 1, 2, 0, 0] == 1 + 2 * 6 + 1
    with pytest.raises(ValueError, match="18 tokens do not form a square"):
        of_tokens(numbers, 1)


def hf_backbone(name: str, kind: str) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MODELS[name]()[0].config
        config = getattr(config, "vision_config", config).to_dict()
        return with_features(build_hf(json.dumps(config)), "hf:", kind)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_place_depends_most_on_its_own_pixels(name: str) -> None:
    family, size = FAMILIES[name], 64 if name in ("hiera", "convnextv2", "dinov3_convnext") else 32
    backbone = hf_backbone(name, "tokens")
    shape = [2, 3, *([WINDOW] if family.kind == "video" else []), size, size]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    placed = backbone.network.trunk(x).places[0]
    times, side = placed.shape[0], placed.shape[1]
    assert placed.shape[1:3] == (side, side)
    found: Tensor = torch.autograd.grad(placed[times - 1, 0, side - 1].square().sum(), x)[0][0]
    if family.kind == "image":
        found = found[:, None]
    cells = found.square().sum(dim=0).unfold(0, found.shape[1] // times, found.shape[1] // times)
    step = size // side
    cells = cells.unfold(1, step, step).unfold(2, step, step).sum(dim=(-1, -2, -3))
    assert cells.argmax() == (times - 1) * side**2 + side - 1


@torch.inference_mode()
def test_grids_are_means_of_parts_row_by_row() -> None:
    backbone = hf_backbone("dinov2", "grid:2")
    x = torch.rand(2, 3, 32, 32)
    tokens = backbone.network.trunk(x).places[:, 0]
    found = backbone(x).view(2, 4, -1)
    torch.testing.assert_close(found[:, 1], tokens[:, :2, 2:].mean(dim=(1, 2)))
    torch.testing.assert_close(found[:, 2], tokens[:, 2:, :2].mean(dim=(1, 2)))


def head_of(**options: Any) -> Any:
    torch.manual_seed(0)
    small = {"hidden": 8, "heads": 2, "feedforward": 16}
    return build_head("attentive", 6, 3, **small, **options).eval()


@torch.inference_mode()
def test_the_attentive_head_attends_to_steps_and_places() -> None:
    head = head_of(places=2)
    steps = torch.randn(2, 4, 6)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    found = head(steps, mask)
    assert found.attention.shape == (2, 4)
    torch.testing.assert_close(found.attention.sum(dim=1), torch.ones(2))
    assert not found.attention[1, 2:].any()
    torch.testing.assert_close(head.read_whole(steps[:1]).logits, found.logits[:1])
    alone = head(steps[1:, :2], mask[1:, :2])
    torch.testing.assert_close(alone.logits, found.logits[1:])
    swapped = head(steps.view(2, 4, 2, 3).flip(2).reshape(2, 4, 6), mask)
    assert not torch.allclose(swapped.logits, found.logits)  # it knows where a vector is


def test_heads_refuse_places_that_do_not_divide_the_features() -> None:
    with pytest.raises(ValueError, match="places is 4"):
        head_of(places=4)
    assert build_head("linear", 6, 3, places=4) is not None


def test_the_table_of_backbones_is_that_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("table", ROOT / "docs/list_backbones.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text("utf-8") == module.page(), "run `python docs/list_backbones.py`"


@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite0", "vit_tiny_patch16_224"])
@torch.inference_mode()
def test_stages_of_timm_are_the_means_of_its_maps(name: str) -> None:
    backbone = fold_batch_norm(build_backbone(f"timm:{name}"))
    maps: dict[int, Tensor] = {}
    network: Any = backbone.network
    modules = {info["module"]: number for number, info in enumerate(network.feature_info)}
    for module, number in modules.items():
        network.get_submodule(module).register_forward_hook(
            lambda _, __, values, number=number: maps.__setitem__(number, values)
        )
    x = torch.rand(2, 3, 224, 224)
    network(x)
    places = (1,) if name.startswith("vit") else (2, 3)
    first = 1 if name.startswith("vit") else 0  # tokens: the class token is no place
    expected = [maps[stage][:, first:].mean(dim=places) for stage in (2, 3)]
    features = with_features(backbone, f"timm:{name}", "stages:2,3")(x)
    torch.testing.assert_close(features, torch.cat(expected, dim=1))


def test_stages_that_do_not_exist_are_refused() -> None:
    backbone = build_backbone("timm:resnet10t")
    with pytest.raises(ValueError, match="stages are 0 to 4"):
        with_features(backbone, "timm:resnet10t", "stages:2,5")
    with pytest.raises(ValueError, match="only models of timm"):
        with_features(build_backbone("resnet18"), "resnet18", "stages:1")
