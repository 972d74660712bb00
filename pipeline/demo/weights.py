"""Real ImageNet weights for the demo, from a package of the extra ``demo``: no model hub."""

from __future__ import annotations

from pathlib import Path

from featstore.errors import InputError
from featstore.format.files import replacing
from models.packaged import is_installed, packaged_tensors

BACKBONE = "timm:tf_efficientnet_lite0"


def write_weights(path: Path) -> bool:
    """Write the package's weights as safetensors, under timm's names.

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
    if not is_installed(BACKBONE):
        return False
    from safetensors.torch import save_file

    try:
        tensors = packaged_tensors(BACKBONE)
    except ValueError as error:
        raise InputError(
            f"{error} is not an EfficientNet-Lite0; install the extra demo again."
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    return True
