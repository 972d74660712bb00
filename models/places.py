"""Vectors of places: what a network computes before it pools them over a frame or a window."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbones import Backbone
from models.catalogue import BACKBONES, TIMM
from models.feature_kinds import CLS, MEAN, POOLED, STAGES, TOKENS, grid_side, stage_numbers
from models.hf import HfNetwork


class Placed(NamedTuple):
    """What a network knows of places.

    Attributes
    ----------
    cls : float tensor (batch, dim) or None
        The class token.
    places : float tensor (batch, frames, height, width, dim)
    """

    cls: Tensor | None
    places: Tensor


class PlacedNetwork(nn.Module):
    """A network that returns vectors of places instead of the pooled one.

    Parameters
    ----------
    trunk : nn.Module
        Returns `Placed`.
    kind : str
        See `models.feature_kinds`.
    """

    own_channels = True

    def __init__(self, trunk: nn.Module, kind: str) -> None:
        super().__init__()
        self.trunk, self.kind = trunk, kind

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors (batch, places * dim), place after place, row by row.

        Raises
        ------
        ValueError
            If the network has no class token, or its tokens do not form a square.
        """
        cls, places = self.trunk(x)
        if self.kind == CLS:
            if cls is None:
                raise ValueError("the backbone has no class token; give other --features")
            return cls  # type: ignore[no-any-return]
        if self.kind == TOKENS:
            return places.flatten(1)  # type: ignore[no-any-return]
        if self.kind == MEAN:
            return places.mean(dim=(1, 2, 3))  # type: ignore[no-any-return]
        flat = places.mean(dim=1).permute(0, 3, 1, 2)
        grid = functional.adaptive_avg_pool2d(flat, grid_side(self.kind))
        return grid.permute(0, 2, 3, 1).flatten(1)


def with_features(backbone: Backbone, name: str, kind: str) -> Backbone:
    """Return a backbone that computes another kind of features.

    Parameters
    ----------
    backbone : Backbone
        With loaded weights; its modules are shared.
    name : str
        Its name.
    kind : str
        See `models.feature_kinds`.

    Raises
    ------
    ValueError
        If the backbone has no such features.
    """
    if kind == POOLED:
        return backbone
    network = backbone.network
    trunk: nn.Module
    if kind.startswith(STAGES):
        if not name.startswith(TIMM):
            raise ValueError("only models of timm have stages")
        stages = _TimmStages(network, stage_numbers(kind))
        return Backbone(stages, backbone.classifier, backbone.channels)
    if isinstance(network, HfNetwork):
        trunk = _HfTrunk(network)
    elif name.startswith(TIMM):
        trunk = _TimmTrunk(network)
    else:
        trunk = _TorchvisionTrunk(network, name)
    return Backbone(PlacedNetwork(trunk, kind), backbone.classifier, backbone.channels)


@torch.inference_mode()
def count_places(backbone: Backbone, shape: list[int]) -> int:
    """Return of how many vectors a feature is made: 1 except for grids and tokens.

    Parameters
    ----------
    backbone : Backbone
    shape : list of int
        Of a batch.
    """
    network = getattr(backbone, "network", None)
    if not isinstance(network, PlacedNetwork) or network.kind in (CLS, MEAN):
        return 1
    if network.kind != TOKENS:
        return grid_side(network.kind) ** 2
    device = next(network.parameters()).device
    places = network.trunk(torch.zeros([1, *shape[1:]], device=device)).places
    return math.prod(places.shape[1:4])


def of_tokens(tokens: Tensor, prefix: int, frames: int = 1, *, frames_last: bool = False) -> Placed:
    """Arrange tokens (batch, prefix + frames * height * width, dim) of squares.

    Parameters
    ----------
    tokens : tensor
    prefix : int
        Tokens before those of places; the first one is the class token.
    frames : int
        Number of times.
    frames_last : bool
        Whether the tokens of one place come together.

    Raises
    ------
    ValueError
        If the places of a time do not form a square.
    """
    batch, count, dim = tokens.shape
    side = math.isqrt((count - prefix) // frames)
    if frames * side**2 != count - prefix:
        raise ValueError(f"its {count - prefix} tokens do not form a square of places")
    order = (side, side, frames) if frames_last else (frames, side, side)
    places = tokens[:, prefix:].reshape(batch, *order, dim)
    if frames_last:
        places = places.permute(0, 3, 1, 2, 4)
    return Placed(tokens[:, 0] if prefix else None, places)


def of_map(values: Tensor, *, channels_last: bool) -> Placed:
    """Arrange a map: (batch, dim, [frames,] height, width), or with the channels last."""
    places = values if channels_last else values.movedim(1, -1)
    return Placed(None, places if places.ndim == 5 else places[:, None])


class _TorchvisionTrunk(nn.Module):
    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        from torchvision.models.feature_extraction import create_feature_extractor

        self.spec = BACKBONES[name]
        self.body = create_feature_extractor(network, [self.spec.places]).eval()

    def forward(self, x: Tensor) -> Placed:
        values: Tensor = self.body(x)[self.spec.places]
        if self.spec.layout == "tokens":
            return of_tokens(values, 1, x.shape[2] // 2 if self.spec.kind == "video" else 1)
        return of_map(values, channels_last=self.spec.layout == "last")


class _TimmTrunk(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        if not hasattr(network, "forward_features"):
            raise ValueError("this model of timm does not say what it computes before pooling")
        self.network = network

    def forward(self, x: Tensor) -> Placed:
        network: Any = self.network
        values: Tensor = network.forward_features(x)
        if values.ndim == 3:
            return of_tokens(values, getattr(network, "num_prefix_tokens", 0))
        dim = network.num_features
        return of_map(values, channels_last=values.shape[1] != dim and values.shape[-1] == dim)


class _TimmStages(nn.Module):
    """The means over places of the maps of some stages, one after the other."""

    own_channels = True

    def __init__(self, network: Any, stages: list[int]) -> None:
        super().__init__()
        if not hasattr(network, "forward_intermediates"):
            raise ValueError("this model of timm does not give the maps of its stages")
        if stages[-1] >= (count := len(network.feature_info)):
            raise ValueError(f"its stages are 0 to {count - 1}")
        self.network, self.stages = network, stages

    def forward(self, x: Tensor) -> Tensor:
        network: Any = self.network
        maps = network.forward_intermediates(x, indices=self.stages, intermediates_only=True)
        return torch.cat([values.mean(dim=(2, 3)) for values in maps], dim=1)


class _HfTrunk(nn.Module):
    def __init__(self, network: HfNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Placed:
        network, family = self.network, self.network.family
        config: Any = network.model.config
        values: Tensor = network.outputs(x).last_hidden_state
        if values.ndim == 4:
            return of_map(values, channels_last=False)
        prefix = family.prefix + getattr(config, "num_register_tokens", 0)
        if family.kind == "image":
            return of_tokens(values, prefix)
        tubelet = getattr(config, "tubelet_size", 1)
        frames = x.shape[2] // (tubelet if isinstance(tubelet, int) else tubelet[0])
        return of_tokens(values, prefix, frames, frames_last=family.name == "timesformer")
