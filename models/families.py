"""The families of models that ``--backbone hf:FOLDER`` reads, without importing torch.

`models.hf` builds and loads them; ``docs/backbones.md`` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

HF = "hf:"
_HEADS = ("classifier.", "pooler.")
_TEXT = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")


@dataclass(frozen=True, slots=True)
class Family:
    """How the models of one ``model_type`` of transformers become backbones.

    Attributes
    ----------
    name : str
        ``model_type`` in config.json, without ``_vision_model``.
    model : str
        Class of transformers.
    title, licence : str
        The usual name, and the licence of the usual weights.
    kind : {"image", "video"}
        Whether the input is single frames or windows of frames.
    pooled : {"pooler", "cls", "mean"}
        The pooled vector: the model's own, the class token, or the mean over all places.
    prefix : int
        Tokens before those of places; registers are added.
    window : (str, int)
        The field of the configuration with the frames of a window, and its default.
    free_window : bool
        Whether other windows are accepted.
    size : str
        The field of the configuration with the size of a frame.
    ignored : tuple of str
        Beginnings of the names of tensors that features do not need.
    options : mapping
        Arguments of the class.
    """

    name: str
    model: str
    title: str
    licence: str
    kind: Literal["image", "video"] = "image"
    pooled: Literal["pooler", "cls", "mean"] = "cls"
    prefix: int = 1
    window: tuple[str, int] = ("num_frames", 1)
    free_window: bool = False
    size: str = "image_size"
    ignored: tuple[str, ...] = _HEADS
    options: Mapping[str, Any] = field(default_factory=dict)


_FAMILIES = (
    Family("dinov2", "Dinov2Model", "DINOv2", "Apache-2.0"),
    Family(
        "dinov2_with_registers",
        "Dinov2WithRegistersModel",
        "DINOv2 with registers",
        "Apache-2.0",
    ),
    Family("dinov3_vit", "DINOv3ViTModel", "DINOv3", "DINOv3 License"),
    Family("dinov3_convnext", "DINOv3ConvNextModel", "DINOv3 ConvNeXt", "DINOv3 License"),
    Family(
        "siglip",
        "SiglipVisionModel",
        "SigLIP, SigLIP 2",
        "Apache-2.0",
        pooled="pooler",
        prefix=0,
        ignored=(*_HEADS, *_TEXT),
    ),
    Family(
        "siglip2",
        "Siglip2VisionModel",
        "SigLIP 2 NaFlex",
        "Apache-2.0",
        pooled="pooler",
        prefix=0,
        ignored=(*_HEADS, *_TEXT),
    ),
    Family("clip", "CLIPVisionModel", "CLIP", "MIT", pooled="pooler", ignored=(*_HEADS, *_TEXT)),
    Family("vit", "ViTModel", "ViT", "Apache-2.0", options={"add_pooling_layer": False}),
    Family(
        "convnextv2",
        "ConvNextV2Model",
        "ConvNeXt V2",
        "CC-BY-NC-4.0",
        pooled="pooler",
        prefix=0,
        ignored=("classifier.",),
    ),
    Family(
        "hiera",
        "HieraModel",
        "Hiera",
        "CC-BY-NC-4.0",
        pooled="pooler",
        prefix=0,
        ignored=("classifier.",),
    ),
    Family(
        "videomae",
        "VideoMAEModel",
        "VideoMAE",
        "CC-BY-NC-4.0",
        kind="video",
        pooled="mean",
        prefix=0,
        window=("num_frames", 16),
        ignored=(*_HEADS, "fc_norm.", "decoder.", "encoder_to_decoder.", "mask_token"),
    ),
    Family(
        "vjepa2",
        "VJEPA2Model",
        "V-JEPA 2",
        "MIT",
        kind="video",
        pooled="mean",
        prefix=0,
        window=("frames_per_clip", 64),
        free_window=True,
        size="crop_size",
        ignored=(*_HEADS, "predictor."),
    ),
    Family(
        "timesformer",
        "TimesformerModel",
        "TimeSformer",
        "CC-BY-NC-4.0",
        kind="video",
        window=("num_frames", 8),
    ),
    Family(
        "vivit",
        "VivitModel",
        "ViViT",
        "Apache-2.0",
        kind="video",
        window=("num_frames", 32),
        options={"add_pooling_layer": False},
    ),
)

FAMILIES: Mapping[str, Family] = {family.name: family for family in _FAMILIES}


def family_of(architecture: Mapping[str, Any]) -> Family:
    """Return the family of a model.

    Parameters
    ----------
    architecture : mapping
        The content of config.json; of a model of pictures and texts, that of pictures alone.

    Raises
    ------
    ValueError
        If the family is unknown.

    Examples
    --------
    >>> family_of({"model_type": "clip_vision_model"}).title
    'CLIP'
    """
    name = str(architecture.get("model_type")).removesuffix("_vision_model")
    if name not in FAMILIES:
        raise ValueError(f"its model_type is {name!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[name]
