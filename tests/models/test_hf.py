"""Models of transformers: features, strict loading, pixels."""

import json
import socket
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from models.families import FAMILIES
from models.hf import build_hf, load_hf
from pipeline.build.extract.preprocess import prepare
from pipeline.build.plan.hub_folder import folder_options
from pipeline.build.plan.normalisation import Normalisation
from pipeline.video.index import VideoIndex
from tests.hub_folders import MODELS, WINDOW, reference, write_folder

FRAME = np.arange(1)
INDEX = VideoIndex(FRAME, FRAME, Fraction(1), 1, 8, 8, "rgb24", 8, "full")
every = pytest.mark.parametrize("name", list(FAMILIES))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a model was loaded over the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def folder_of(root: Path, name: str) -> Path:
    folder = root / name
    return folder if folder.is_dir() else write_folder(folder, name)


def options_of(root: Path, name: str) -> dict[str, Any]:
    return folder_options(f"hf:{folder_of(root, name)}", {})


def tensors_of(root: Path, name: str) -> dict[str, Tensor]:
    return dict(load_file(folder_of(root, name) / "model.safetensors"))


def inputs(name: str, options: dict[str, Any]) -> Tensor:
    frames = [WINDOW] if FAMILIES[name].kind == "video" else []
    shape = [2, 3, *frames, options["size"], options["size"]]
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def by_transformers(model: Any, name: str, x: Tensor) -> Tensor:
    """The vector that the classifier takes; else the model's own pooled vector, or the mean."""
    arguments: Any = {"pixel_values": x.transpose(1, 2) if x.ndim == 5 else x}
    if name == "vjepa2":
        return model.get_vision_features(x.transpose(1, 2)).mean(dim=1)
    if name == "siglip2":
        sides = x.shape[-1] // 8
        patches = x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1)
        arguments = {
            "pixel_values": patches.reshape(len(x), sides**2, -1),
            "pixel_attention_mask": torch.ones(len(x), sides**2, dtype=torch.int32),
            "spatial_shapes": torch.tensor([[sides, sides]] * len(x)),
        }
    if hasattr(model, "classifier"):
        taken: list[Tensor] = []
        model.classifier.register_forward_hook(lambda module, args, out: taken.append(args[0]))
        model(**arguments)
        return taken[-1]
    return model(**arguments).pooler_output


@every
@torch.inference_mode()
def test_features_are_those_of_transformers(root: Path, name: str) -> None:
    options = options_of(root, name)
    backbone = load_hf(options["architecture"], tensors_of(root, name))
    assert not backbone.training
    x = inputs(name, options)
    expected = by_transformers(reference(folder_of(root, name), name), name, x)
    off = (backbone(x) - expected).norm(dim=1) / expected.norm(dim=1)
    assert off.max() < 1e-4
    assert (expected[0] - expected[1]).norm() > 1e-3


@pytest.mark.parametrize("name", ["clip", "dinov3_vit", "vit", "vjepa2"])
def test_what_a_file_lacks_or_has_too_much_is_named(root: Path, name: str) -> None:
    architecture = options_of(root, name)["architecture"]
    whole = tensors_of(root, name)
    lost = next(key for key in whole if "layer" in key and ".bias" in key and "text" not in key)
    bare = lost.rpartition("layer")[2]
    without = {key: value for key, value in whole.items() if key != lost}
    with pytest.raises(ValueError, match="1 missing"):
        load_hf(architecture, without)
    with pytest.raises(ValueError, match="1 unknown: foo"):
        load_hf(architecture, whole | {"foo.weight": torch.ones(2)})
    with pytest.raises(ValueError, match=f"1 other shape: .*{bare.rpartition('.')[2]}"):
        load_hf(architecture, whole | {lost: torch.ones(5)})


def test_biases_that_are_renamed_are_loaded(root: Path) -> None:
    whole = tensors_of(root, "videomae")
    backbone = load_hf(options_of(root, "videomae")["architecture"], whole)
    attention = backbone.network.model.encoder.layer[1].attention.attention
    for ours, theirs in ((attention.query, "q_bias"), (attention.value, "v_bias")):
        held = whole[f"videomae.encoder.layer.1.attention.attention.{theirs}"]
        assert held.abs().max() > 0
        assert torch.equal(ours.bias, held)


def test_a_tensor_that_is_initialised_without_an_error_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    load = transformers.VideoMAEModel.from_pretrained

    def forgetful(*arguments: Any, **options: Any) -> Any:
        model, report = load(*arguments, **options)
        model.encoder.layer[0].attention.attention.query.bias.data.zero_()
        return model, report

    monkeypatch.setattr(transformers.VideoMAEModel, "from_pretrained", forgetful)
    with pytest.raises(ValueError, match="1 not loaded: encoder") as caught:
        load_hf(options_of(root, "videomae")["architecture"], tensors_of(root, "videomae"))
    assert "1 unknown: videomae.encoder.layer.0.attention.attention.q_bias" in str(caught.value)


def test_parts_of_a_tensor_count_as_loaded(root: Path) -> None:
    """The gate and the projection of SwiGLU are one tensor in the files of DINOv2."""
    import transformers

    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, use_swiglu_ffn=True
    )
    transformers.Dinov2Model(config).save_pretrained(root / "swiglu")
    tensors = load_file(root / "swiglu" / "model.safetensors")
    assert any("weights_in" in name for name in tensors)
    load_hf(json.dumps(config.to_dict()), tensors)


def test_random_weights_follow_the_seed(root: Path) -> None:
    architecture = options_of(root, "dinov2")["architecture"]
    torch.manual_seed(3)
    first = build_hf(architecture).state_dict()
    torch.manual_seed(3)
    assert all(
        torch.equal(first[name], v) for name, v in build_hf(architecture).state_dict().items()
    )


@pytest.mark.parametrize("name", ["dinov2", "clip", "siglip", "vit"])
def test_other_sizes_are_interpolated(root: Path, name: str) -> None:
    options = options_of(root, name)
    backbone = load_hf(options["architecture"], tensors_of(root, name))
    assert backbone(torch.rand(1, 3, 48, 48)).shape == (1, 32)


@pytest.mark.parametrize(("frames", "size"), [(WINDOW, 40), (WINDOW + 2, 32)])
@pytest.mark.parametrize("name", ["timesformer", "videomae", "vivit"])
def test_videos_have_one_size_and_window(root: Path, name: str, frames: int, size: int) -> None:
    backbone = load_hf(options_of(root, name)["architecture"], tensors_of(root, name))
    flag = "--size 32" if size == 40 else f"--window {WINDOW}"
    with pytest.raises(ValueError, match=flag):
        backbone(torch.rand(1, 3, frames, size, size))


def smooth(shape: tuple[int, int]) -> np.ndarray:
    """A picture without edges, where bicubic weights do not leave the range of pixels."""
    blocks = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    values = functional.interpolate(blocks, shape, mode="bicubic", align_corners=True)
    return (40 + 170 * values[0].clamp(0, 1)).permute(1, 2, 0).to(torch.uint8).numpy()


def pixels_of(name: str, picture: np.ndarray, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The pixels of the processor, and ours."""
    processor = MODELS[name]()[1]
    if FAMILIES[name].kind == "video":
        video = torch.from_numpy(picture).permute(2, 0, 1)[None]
        expected = next(iter(processor(videos=[video], return_tensors="pt").values()))[0, 0]
    else:
        expected = processor(picture, return_tensors="pt")["pixel_values"][0]
    normalise = Normalisation.parse(options["normalise"])
    found = prepare(
        picture[None],
        INDEX,
        size=options["size"],
        fit=options["fit"],
        resample=options["resample"],
        mean=normalise.mean,
        std=normalise.std,
        device=torch.device("cpu"),
    )[0]
    if name == "siglip2":
        side = options["size"] // 8
        found = found.unfold(1, 8, 8).unfold(2, 8, 8).permute(1, 2, 3, 4, 0).reshape(side**2, -1)
    return expected, found


@every
@pytest.mark.parametrize("shape", [(83, 121), (120, 67)])
def test_pixels_are_those_of_the_processor(root: Path, name: str, shape: tuple[int, int]) -> None:
    """The processors round to whole grey levels after each direction; here nothing is rounded."""
    options = options_of(root, name)
    # SigLIP 2 NaFlex keeps the aspect, and takes squares here.
    picture = smooth((90, 90) if name == "siglip2" else shape)
    expected, found = pixels_of(name, picture, options)
    levels = 255 * min(Normalisation.parse(options["normalise"]).std) * (found - expected).abs()
    assert levels.max() <= 1.1
    assert levels.mean() < 0.5
