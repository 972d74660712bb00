"""Run pointwise convolutions with oneDNN, even if torch would not choose it.

With one thread and fewer than 16 inputs, torch computes a 1x1 convolution of stride 1 with its own
loops, which take up to twice as long; see ``use_mkldnn`` in its ``Convolution.cpp``. Avoiding them
would need larger batches, and so more memory.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones import Backbone, Convolution


class OneDNN(nn.Module):
    """A float32 convolution on a CPU, computed by oneDNN."""

    def __init__(self, layer: Convolution) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        layer = self.layer
        out: Tensor = torch.ops.aten.mkldnn_convolution(
            x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups
        )
        return out


def pointwise_by_onednn(backbone: Backbone) -> Backbone:
    """Return a backbone that runs pointwise convolutions with oneDNN, for float32 on a CPU.

    Parameters
    ----------
    backbone : Backbone
        With loaded weights; it is not changed.

    Returns
    -------
    Backbone
        A copy; or `backbone` itself if it has none, or torch was built without oneDNN.
    """
    names = [name for name, module in backbone.network.named_modules() if _is_pointwise(module)]
    if not names or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return backbone
    network = copy.deepcopy(backbone.network)
    for name in names:
        layer: Any = network.get_submodule(name)
        network.set_submodule(name, OneDNN(layer))
    return Backbone(network, backbone.classifier, backbone.channels)


def _is_pointwise(module: nn.Module) -> bool:
    return (
        type(module) in (nn.Conv2d, nn.Conv3d)
        and isinstance(module, Convolution)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and set(module.kernel_size[-2:]) == set(module.stride) == set(module.dilation) == {1}
    )
