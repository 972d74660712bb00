"""The device that a command computes on."""

from __future__ import annotations

import torch

from featstore.errors import InputError


def choose_device(name: str) -> torch.device:
    """Return the device that ``--device`` names; ``auto`` is a GPU where there is one.

    Raises
    ------
    InputError
        If torch knows no such device, or cannot use it here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch raises either
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"--device is {name!r}, which cannot be used here ({reason}); give auto or cpu."
        ) from None
