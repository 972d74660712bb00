"""Frozen networks that turn frames, or windows of frames, into vectors."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.catalogue import BACKBONES, TIMM
from models.operators import declare_missing_operators

COLOURS = 3
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
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


def fold_batch_norm(backbone: Backbone) -> Backbone:
    """Return a backbone of which every batch norm behind a convolution is part of its weights.

    In evaluation mode a batch norm is a scale and a shift by channel, so it is the same function,
    but for the last bits, and a pass over memory less.

    Parameters
    ----------
    backbone : Backbone
        With its weights loaded; it is left as it is.

    Returns
    -------
    Backbone
        A copy; or `backbone` itself where it holds no batch norm, or its network cannot be traced.
    """
    pairs = _batch_norms(backbone.network)
    if not pairs:
        return backbone
    network = copy.deepcopy(backbone.network)
    for convolution, norm in pairs:
        conv: Any = network.get_submodule(convolution)
        own: Any = network.get_submodule(norm)
        network.set_submodule(convolution, fuse_conv_bn_eval(conv, own))
        network.set_submodule(norm, nn.Identity())
    return Backbone(network, backbone.classifier, backbone.channels)


def _batch_norms(network: nn.Module) -> list[tuple[str, str]]:
    """Return the names of every convolution that feeds a batch norm alone, and of that norm."""
    try:
        nodes = list(_Tracer().trace(network).nodes)
    except Exception:  # control flow that depends on the input; what tracing raises has many types
        return []
    called = Counter(node.target for node in nodes if node.op == "call_module")
    modules = dict(network.named_modules())
    found = []
    for node in nodes:
        before = node.args[0] if node.args else None
        if (
            isinstance(before, fx.Node)
            and {node.op, before.op} == {"call_module"}
            and isinstance(norm := modules[str(node.target)], BatchNorm)
            and isinstance(convolution := modules[str(before.target)], Convolution)
            and _is_plain(norm)
            and _is_plain(convolution)
            and len(before.users) == called[node.target] == called[before.target] == 1
        ):
            found.append((str(before.target), str(node.target)))
    return found


class _Tracer(fx.Tracer):
    """Sees convolutions and batch norms as such, also those that derive from torch's."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _is_plain(m) or super().is_leaf_module(m, module_qualified_name)


def _is_plain(module: nn.Module) -> bool:
    """Tell whether a module is a convolution or batch norm that does nothing else.

    Those of some networks standardise their weights, or end in an activation.
    """
    kinds = (nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return any(isinstance(module, k) and type(module).forward is k.forward for k in kinds)


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
        raise ValueError("timm is not installed; pip install timm") from None
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
