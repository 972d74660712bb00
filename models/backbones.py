"""Frozen networks that turn frames, or windows of frames, into vectors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.catalogue import BACKBONES, TIMM
from models.operators import declare_missing_operators

COLOURS = 3
Convolution = nn.Conv2d | nn.Conv3d


class Backbone(nn.Module):
    """A network without its classifier, in evaluation mode, all of its parameters frozen.

    Parameters
    ----------
    network : nn.Module
        Ends in the pooled vector.
    classifier : tuple of str
        Names under which weights files may hold the classifier that was removed.
    channels : int
        3, or 1 for what `to_single_channel` returns.

    Notes
    -----
    Input is float32 of shape (batch, channels, height, width) for an image backbone and
    (batch, channels, frames, height, width) for a video backbone; output is (batch, dim).
    """

    def __init__(
        self, network: nn.Module, classifier: tuple[str, ...], channels: int = COLOURS
    ) -> None:
        super().__init__()
        self.network = network
        self.classifier = classifier
        self.channels = channels
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of shape (batch, dim)."""
        out: Tensor = self.network(x)
        return out.flatten(1)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load weights; the classifier's own may be there or not.

        Raises
        ------
        ValueError
            If tensors are missing, unknown or of another shape; the message lists them.
        """
        own = self.network.state_dict()
        kept = {name: value for name, value in tensors.items() if not self._classifies(name)}
        missing = sorted(own.keys() - kept.keys() - _counters(own))
        extra = sorted(kept.keys() - own.keys())
        shapes = [
            f"{name} {tuple(kept[name].shape)} for {tuple(own[name].shape)}"
            for name in sorted(own.keys() & kept.keys())
            if own[name].shape != kept[name].shape
        ]
        problems = (
            _listed("missing", missing),
            _listed("unknown", extra),
            _listed("other shape", shapes),
        )
        if any(problems):
            raise ValueError("; ".join(problem for problem in problems if problem))
        self.network.load_state_dict({**own, **kept})

    def _classifies(self, name: str) -> bool:
        return name.rpartition(".")[0] in self.classifier


def build_backbone(name: str, seed: int = 0) -> Backbone:
    """Build a backbone with random weights.

    Parameters
    ----------
    name : str
        A name of `models.catalogue.BACKBONES`, or ``timm:`` and a model of timm.
    seed : int
        Seed of the weights; the global generator is left as it was.

    Raises
    ------
    ValueError
        If there is no such backbone, or timm is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name.startswith(TIMM):
            return _from_timm(name.removeprefix(TIMM))
        return _from_torchvision(name)


def to_single_channel(backbone: Backbone) -> Backbone:
    """Return a backbone that takes one channel and gives what three equal channels gave.

    A convolution is linear, so the kernels of equal input channels add up:
    ``sum_c w_c * x = (sum_c w_c) * x``. That holds at the borders too, as the zeros that are padded
    are the same in every channel. Only the order of the additions differs, and with it the last
    bits.

    Parameters
    ----------
    backbone : Backbone
        With its weights loaded; it is left as it is.

    Returns
    -------
    Backbone
        A copy of which ``channels`` is 1; or `backbone` itself, ``channels`` still 3, where its
        first layer is not a plain convolution of the input.

    Examples
    --------
    >>> backbone = build_backbone("squeezenet1_1")
    >>> to_single_channel(backbone)(torch.zeros(2, 1, 64, 64)).shape
    torch.Size([2, 512])
    """
    name = _input_convolution(backbone.network)
    if name is None:
        return backbone
    network = copy.deepcopy(backbone.network)
    layer: Any = network.get_submodule(name)
    _add_up(layer)
    return Backbone(network, backbone.classifier, channels=1)


def _input_convolution(network: nn.Module) -> str | None:
    """Return the name of the convolution that the input enters, if its kernels may be added up."""
    found = [(name, m) for name, m in network.named_modules() if isinstance(m, Convolution)]
    of_colours = [name for name, layer in found if layer.in_channels == COLOURS]
    if not found or of_colours != [found[0][0]]:
        return None
    name, layer = found[0]
    return name if layer.groups == 1 and _adds_up(layer) else None


def _adds_up(layer: Convolution) -> bool:
    """Try whether a layer gives the same with its kernels added up.

    One that standardises its weights does not, one that pads as TensorFlow does.
    """
    three = copy.deepcopy(layer).double()
    one = copy.deepcopy(three)
    _add_up(one)
    sides = [2 * side for side in three.kernel_size]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 1, *sides, generator=generator, dtype=torch.float64).to(three.weight.device)
    expected = three(x.expand(1, COLOURS, *sides))
    return torch.allclose(one(x), expected, rtol=1e-9, atol=1e-12)


def _add_up(layer: Convolution) -> None:
    """Make a convolution take one channel, in place; the sum is rounded once."""
    summed = layer.weight.detach().double().sum(1, keepdim=True).to(layer.weight.dtype)
    layer.weight = nn.Parameter(summed, requires_grad=False)
    layer.in_channels = 1


def _from_torchvision(name: str) -> Backbone:
    declare_missing_operators()
    import torchvision

    if name not in BACKBONES:
        raise ValueError(f"there is no backbone {name!r}")
    network = torchvision.models.get_model(name, weights=None)
    classifier = BACKBONES[name].classifier
    network.set_submodule(classifier, nn.Identity())
    return Backbone(network, (classifier,))


def _from_timm(name: str) -> Backbone:
    declare_missing_operators()
    try:
        import timm
    except ImportError:
        raise ValueError("timm is not installed; pip install 'featstore[timm]'") from None
    if name not in timm.list_models():
        raise ValueError(f"timm has no model {name!r}")
    network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    classifier = network.default_cfg.get("classifier") or ()
    return Backbone(network, (classifier,) if isinstance(classifier, str) else tuple(classifier))


def _counters(own: Mapping[str, Tensor]) -> set[str]:
    """Batch counters of batch norm, which old weights files lack and evaluation never reads."""
    return {name for name in own if name.endswith("num_batches_tracked")}


def _listed(title: str, names: list[str], most: int = 8) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {title}: {', '.join(names[:most])}{more}"
