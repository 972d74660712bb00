"""Pointwise convolutions by oneDNN, also where torch would not choose it.

With one thread and fewer than 16 inputs, torch leaves a convolution of stride 1 whose kernel is one
wide and one high to loops of its own, which take up to twice as long; see ``use_mkldnn`` in its
``Convolution.cpp``. So batches would have to be large, and their memory with them.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones import Backbone, Convolution


class OneDNN(nn.Module):
    """A convolution on a CPU, in float32, by oneDNN."""

    def __init__(self, layer: Convolution) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer would."""
        own = self.layer
        found: Tensor = torch.ops.aten.mkldnn_convolution(
            x, own.weight, own.bias, own.padding, own.stride, own.dilation, own.groups
        )
        return found


def pointwise_by_onednn(backbone: Backbone) -> Backbone:
    """Return a backbone whose pointwise convolutions oneDNN computes, for float32 on a CPU.

    Parameters
    ----------
    backbone : Backbone
        With its weights loaded; it is left as it is.

    Returns
    -------
    Backbone
        A copy; or `backbone` itself where there is none, or torch was built without oneDNN.
    """
    names = [name for name, own in backbone.network.named_modules() if _is_pointwise(own)]
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
