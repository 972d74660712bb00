"""The named backbones, without importing torch.

A test compares this table with torchvision. ``docs/backbones.md`` describes the backbones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TIMM = "timm:"


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """The properties of a torchvision backbone that are needed before building it.

    Attributes
    ----------
    name : str
        torchvision's builder.
    classifier : str
        The last linear layer or 1x1 convolution; features are its pooled input.
    dim : int
        Length of that vector.
    weights : mapping of str to str
        Names of torchvision's weights, the recommended ones last, and their files.
    kind : {"image", "video"}
        Whether the input is single frames or windows of frames.
    size, window : int or None
        The required frame size and number of frames; None if they are free.
    min_size, min_window : int
        The smallest allowed frame size and number of frames.
    places : str
        The layer with vectors of places, before they are pooled.
    layout : {"first", "last", "tokens"}
        Where that layer has the channels; or tokens, a class token first.
    """

    name: str
    classifier: str
    dim: int
    weights: Mapping[str, str]
    kind: Literal["image", "video"] = "image"
    size: int | None = None
    window: int | None = None
    min_size: int = 1
    min_window: int = 1
    places: str = "features"
    layout: Literal["first", "last", "tokens"] = "first"


_SPECS = (
    BackboneSpec(
        "resnet18", "fc", 512, {"IMAGENET1K_V1": "resnet18-f37072fd.pth"}, places="layer4"
    ),
    BackboneSpec(
        "resnet50",
        "fc",
        2048,
        {"IMAGENET1K_V1": "resnet50-0676ba61.pth", "IMAGENET1K_V2": "resnet50-11ad3fa6.pth"},
        places="layer4",
    ),
    BackboneSpec(
        "mobilenet_v2",
        "classifier.1",
        1280,
        {
            "IMAGENET1K_V1": "mobilenet_v2-b0353104.pth",
            "IMAGENET1K_V2": "mobilenet_v2-7ebf99e0.pth",
        },
    ),
    BackboneSpec(
        "mobilenet_v3_small",
        "classifier.3",
        1024,
        {"IMAGENET1K_V1": "mobilenet_v3_small-047dcff4.pth"},
    ),
    BackboneSpec(
        "mobilenet_v3_large",
        "classifier.3",
        1280,
        {
            "IMAGENET1K_V1": "mobilenet_v3_large-8738ca79.pth",
            "IMAGENET1K_V2": "mobilenet_v3_large-5c1a4163.pth",
        },
    ),
    BackboneSpec(
        "squeezenet1_1",
        "classifier.1",
        512,
        {"IMAGENET1K_V1": "squeezenet1_1-b8a52dc0.pth"},
        min_size=17,
    ),
    BackboneSpec(
        "efficientnet_b0",
        "classifier.1",
        1280,
        {"IMAGENET1K_V1": "efficientnet_b0_rwightman-7f5810bc.pth"},
    ),
    BackboneSpec(
        "convnext_tiny",
        "classifier.2",
        768,
        {"IMAGENET1K_V1": "convnext_tiny-983f1562.pth"},
        min_size=32,
    ),
    BackboneSpec(
        "vit_b_16",
        "heads.head",
        768,
        {"IMAGENET1K_V1": "vit_b_16-c867db91.pth"},
        size=224,
        places="encoder",
        layout="tokens",
    ),
    BackboneSpec(
        "regnet_y_400mf",
        "fc",
        440,
        {
            "IMAGENET1K_V1": "regnet_y_400mf-c65dace8.pth",
            "IMAGENET1K_V2": "regnet_y_400mf-e6988f5f.pth",
        },
        places="trunk_output",
    ),
    BackboneSpec(
        "r3d_18",
        "fc",
        512,
        {"KINETICS400_V1": "r3d_18-b3b3357e.pth"},
        kind="video",
        places="layer4",
    ),
    BackboneSpec(
        "mc3_18",
        "fc",
        512,
        {"KINETICS400_V1": "mc3_18-a90a0ba3.pth"},
        kind="video",
        places="layer4",
    ),
    BackboneSpec(
        "r2plus1d_18",
        "fc",
        512,
        {"KINETICS400_V1": "r2plus1d_18-91a641e6.pth"},
        kind="video",
        places="layer4",
    ),
    BackboneSpec(
        "s3d",
        "classifier.1",
        1024,
        {"KINETICS400_V1": "s3d-d76dad2f.pth"},
        kind="video",
        min_size=209,
        min_window=13,
    ),
    # It counts tokens but ignores their shape, so 15 frames, 221 pixels, or 4 frames of 448 pixels
    # raise no error; the last case even mixes up the positions of tokens.
    BackboneSpec(
        "mvit_v2_s",
        "head.1",
        768,
        {"KINETICS400_V1": "mvit_v2_s-ae3be167.pth"},
        kind="video",
        size=224,
        window=16,
        places="norm",
        layout="tokens",
    ),
    BackboneSpec(
        "swin3d_t",
        "head",
        768,
        {"KINETICS400_V1": "swin3d_t-7615ae03.pth"},
        kind="video",
        places="norm",
        layout="last",
    ),
)

BACKBONES: Mapping[str, BackboneSpec] = {spec.name: spec for spec in _SPECS}
