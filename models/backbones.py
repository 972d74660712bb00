"""Frozen networks that map frames, or windows of frames, to feature vectors."""

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
    """A network without its classifier, in evaluation mode and with frozen parameters.

    Parameters
    ----------
    network : nn.Module
        Returns the pooled vector.
    classifier : tuple of str
        Names of the removed classifier in weights files.
    channels : int
        3, or 1 after `to_single_channel`.

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
        """Load weights; those of the classifier are optional and ignored.

        Raises
        ------
        ValueError
            If tensors are missing, unknown, or of another shape; the message lists them.
        """
        parameters = self.network.state_dict()
        kept = {name: value for name, value in tensors.items() if not self._classifies(name)}
        missing = sorted(parameters.keys() - kept.keys() - _counters(parameters))
        extra = sorted(kept.keys() - parameters.keys())
        shapes = [
            f"{name} {tuple(kept[name].shape)} for {tuple(parameters[name].shape)}"
            for name in sorted(parameters.keys() & kept.keys())
            if parameters[name].shape != kept[name].shape
        ]
        problems = (
            listed("missing", missing),
            listed("unknown", extra),
            listed("other shape", shapes),
        )
        if any(problems):
            raise ValueError("; ".join(problem for problem in problems if problem))
        self.network.load_state_dict({**parameters, **kept})

    def _classifies(self, name: str) -> bool:
        return name.rpartition(".")[0] in self.classifier


def build_backbone(name: str, seed: int = 0) -> Backbone:
    """Build a backbone with random weights.

    Parameters
    ----------
    name : str
        A name of `models.catalogue.BACKBONES`, or ``timm:`` and a model of timm.
    seed : int
        Seed of the weights; the global generator does not change.

    Raises
    ------
    ValueError
        If the backbone is unknown, or timm is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name.startswith(TIMM):
            return _from_timm(name.removeprefix(TIMM))
        return _from_torchvision(name)


def to_single_channel(backbone: Backbone) -> Backbone:
    """Return an equivalent backbone for one channel instead of three equal ones.

    A convolution is linear, so kernels of equal input channels can be summed:
    ``sum_c w_c * x = (sum_c w_c) * x``. This includes the borders, because every channel is padded
    with the same zeros. Only the order of additions differs, and so the last bits.

    Parameters
    ----------
    backbone : Backbone
        With loaded weights; it is not changed.

    Returns
    -------
    Backbone
        A copy with ``channels`` 1; or `backbone` itself if its first layer is not a plain
        convolution of the input.

    Examples
    --------
    >>> backbone = build_backbone("squeezenet1_1")
    >>> to_single_channel(backbone)(torch.zeros(2, 1, 64, 64)).shape
    torch.Size([2, 512])
    """
    name = _input_convolution(backbone.network)
    if name is None or getattr(backbone.network, "own_channels", False):
        return backbone
    network = copy.deepcopy(backbone.network)
    layer: Any = network.get_submodule(name)
    _add_up(layer)
    return Backbone(network, backbone.classifier, channels=1)


def fold_batch_norm(backbone: Backbone) -> Backbone:
    """Return a backbone with each batch norm folded into the convolution before it.

    In evaluation mode, a batch norm scales and shifts each channel. Folding saves a pass over
    memory and changes only the last bits.

    Parameters
    ----------
    backbone : Backbone
        With loaded weights; it is not changed.

    Returns
    -------
    Backbone
        A copy; or `backbone` itself if it has no batch norm, or its network cannot be traced.
    """
    pairs = _batch_norms(backbone.network)
    if not pairs:
        return backbone
    network = copy.deepcopy(backbone.network)
    for convolution, norm in pairs:
        conv: Any = network.get_submodule(convolution)
        batch_norm: Any = network.get_submodule(norm)
        network.set_submodule(convolution, fuse_conv_bn_eval(conv, batch_norm))
        network.set_submodule(norm, nn.Identity())
    return Backbone(network, backbone.classifier, backbone.channels)


def _batch_norms(network: nn.Module) -> list[tuple[str, str]]:
    """Return the names of each convolution that feeds only a batch norm, and of that norm."""
    if not any(isinstance(module, BatchNorm) for module in network.modules()):
        return []
    try:
        nodes = list(_Tracer().trace(network).nodes)
    except Exception:  # input-dependent control flow; tracing raises errors of many types
        return []
    called = Counter(node.target for node in nodes if node.op == "call_module")
    modules = dict(network.named_modules())
    name_pairs = []
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
            name_pairs.append((str(before.target), str(node.target)))
    return name_pairs


class _Tracer(fx.Tracer):
    """Treat convolutions and batch norms as leaves, including subclasses of torch's."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _is_plain(m) or super().is_leaf_module(m, module_qualified_name)


def _is_plain(module: nn.Module) -> bool:
    """Tell whether a module is an unmodified convolution or batch norm.

    Some networks standardise the weights of theirs, or add an activation.
    """
    kinds = (nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return any(isinstance(module, k) and type(module).forward is k.forward for k in kinds)


def _input_convolution(network: nn.Module) -> str | None:
    """Return the name of the first convolution, if its kernels can be summed."""
    convolutions = [(name, m) for name, m in network.named_modules() if isinstance(m, Convolution)]
    of_colours = [name for name, layer in convolutions if layer.in_channels == COLOURS]
    if not convolutions or of_colours != [convolutions[0][0]]:
        return None
    name, layer = convolutions[0]
    return name if layer.groups == 1 and _adds_up(layer) else None


def _adds_up(layer: Convolution) -> bool:
    """Tell whether a layer gives the same output with summed kernels, by trying it.

    A layer that standardises its weights does not; a layer with TensorFlow's padding does.
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
    """Sum the kernels of a convolution to one input channel, in place; round only once."""
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


def _counters(parameters: Mapping[str, Tensor]) -> set[str]:
    """Return the batch counters of batch norms: old files lack them, evaluation ignores them."""
    return {name for name in parameters if name.endswith("num_batches_tracked")}


def listed(title: str, names: list[str], most: int = 8) -> str:
    """Return the number of names and the first of them, or an empty text without names."""
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {title}: {', '.join(names[:most])}{more}"
