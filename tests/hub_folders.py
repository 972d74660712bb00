"""Folders in the hub's layout, with tiny random models that transformers itself saved."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from models.operators import declare_missing_operators

declare_missing_operators()
import transformers as tf  # noqa: E402

SIZE, WINDOW = 32, 4
_VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_FLAT = {**_VIT, "intermediate_size": 64, "image_size": SIZE, "patch_size": 8}
_DINO = {**_VIT, "mlp_ratio": 2, "image_size": SIZE, "patch_size": 8}
_CONVNEXT = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
_TEXT = {**_VIT, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 50}
_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_CLIPS = {"num_frames": WINDOW, "tubelet_size": 2}
_JEPA = {
    **{**_VIT, "mlp_ratio": 2, "patch_size": 8, "crop_size": SIZE},
    **{"frames_per_clip": WINDOW, "tubelet_size": 2, "num_pooler_layers": 1},
    **{"pred_hidden_size": 16, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1},
}
CROPPED = {"size": {"shortest_edge": 36}, "crop_size": {"height": SIZE, "width": SIZE}}
SQUARE = {"size": {"height": SIZE, "width": SIZE}}


def _towers(config: Any, vision: dict[str, Any]) -> Any:
    return config(vision_config=vision, text_config={**_TEXT, **_TOKENS})


# The model as saved, and its processor.
MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "dinov2": lambda: (
        tf.Dinov2Model(tf.Dinov2Config(**_DINO)),
        tf.BitImageProcessor(**CROPPED),
    ),
    "dinov2_with_registers": lambda: (
        tf.Dinov2WithRegistersModel(tf.Dinov2WithRegistersConfig(**_DINO, num_register_tokens=2)),
        tf.BitImageProcessor(**CROPPED),
    ),
    "dinov3_vit": lambda: (
        tf.DINOv3ViTModel(tf.DINOv3ViTConfig(**_FLAT, num_register_tokens=2)),
        tf.DINOv3ViTImageProcessor(**SQUARE),
    ),
    "dinov3_convnext": lambda: (
        tf.DINOv3ConvNextModel(tf.DINOv3ConvNextConfig(**_CONVNEXT)),
        tf.DINOv3ViTImageProcessor(**SQUARE),
    ),
    "siglip": lambda: (
        tf.SiglipModel(_towers(tf.SiglipConfig, _FLAT)),
        tf.SiglipImageProcessor(**SQUARE),
    ),
    "siglip2": lambda: (
        tf.Siglip2VisionModel(
            tf.Siglip2VisionConfig(
                **_VIT, intermediate_size=64, patch_size=8, num_patches=(SIZE // 8) ** 2
            )
        ),
        tf.Siglip2ImageProcessor(patch_size=8, max_num_patches=(SIZE // 8) ** 2),
    ),
    "clip": lambda: (
        tf.CLIPModel(_towers(tf.CLIPConfig, _FLAT)),
        tf.CLIPImageProcessor(**CROPPED),
    ),
    "vit": lambda: (
        tf.ViTForImageClassification(tf.ViTConfig(**_FLAT)),
        tf.ViTImageProcessor(**SQUARE),
    ),
    "convnextv2": lambda: (
        tf.ConvNextV2ForImageClassification(tf.ConvNextV2Config(**_CONVNEXT)),
        tf.ConvNextImageProcessor(size={"shortest_edge": SIZE}),
    ),
    "hiera": lambda: (
        tf.HieraForImageClassification(
            tf.HieraConfig(
                embed_dim=8, image_size=[64, 64], num_heads=[1, 2, 4, 8], depths=[1, 1, 1, 1]
            )
        ),
        tf.BitImageProcessor(size={"shortest_edge": 70}, crop_size={"height": 64, "width": 64}),
    ),
    "videomae": lambda: (
        tf.VideoMAEForVideoClassification(tf.VideoMAEConfig(**_FLAT, **_CLIPS)),
        tf.VideoMAEVideoProcessor(**CROPPED),
    ),
    "vjepa2": lambda: (
        tf.VJEPA2Model(tf.VJEPA2Config(**_JEPA)),
        tf.VJEPA2VideoProcessor(crop_size=SIZE),
    ),
    "timesformer": lambda: (
        tf.TimesformerForVideoClassification(tf.TimesformerConfig(**_FLAT, num_frames=WINDOW)),
        tf.TimesformerVideoProcessor(**CROPPED),
    ),
    "vivit": lambda: (
        tf.VivitForVideoClassification(
            tf.VivitConfig(
                **_VIT,
                **{"intermediate_size": 64, "image_size": SIZE, "num_frames": WINDOW},
                tubelet_size=[2, 8, 8],
            )
        ),
        tf.VivitVideoProcessor(**CROPPED),
    ),
}


def write_folder(folder: Path, name: str) -> Path:
    """Write a model of a family and its processor; no tensor is all zeros."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model, processor = MODELS[name]()
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@cache
def reference(folder: Path, name: str) -> Any:
    """Load a folder by transformers alone, as its class."""
    kind = {"siglip": tf.SiglipVisionModel, "clip": tf.CLIPVisionModel}.get(name)
    return (kind or type(MODELS[name]()[0])).from_pretrained(folder).eval()
