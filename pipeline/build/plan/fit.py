"""How a frame becomes a square: ``squash``, ``crop``, ``crop:EDGE`` or ``pad``."""

from __future__ import annotations

from typing import Any

from featstore.errors import InputError

FITS = ("squash", "crop", "pad")
CROP = "crop:"


def fit_of(field: str, value: Any) -> str:
    """Return a value of ``--fit``.

    Raises
    ------
    InputError

    Examples
    --------
    >>> fit_of("fit", "crop:256")
    'crop:256'
    """
    if isinstance(value, str):
        edge = value.removeprefix(CROP)
        if value in FITS or (value != edge and edge.isascii() and edge.isdigit()):
            return value
    raise InputError(f"--{field} is {value!r}; it is one of {', '.join(FITS)} or crop:EDGE.")


def check_edge(fit: str, size: int) -> None:
    """Refuse to crop a square out of a smaller frame.

    Raises
    ------
    InputError
    """
    if fit.startswith(CROP) and int(fit.removeprefix(CROP)) < size:
        raise InputError(
            f"--fit is {fit}, which is smaller than --size {size}; give {CROP}{size} or more."
        )


def fitted_size(height: int, width: int, size: int, fit: str) -> tuple[int, int]:
    """Return the height and width that a frame is resized to before it is cropped or padded.

    ``crop:EDGE`` rounds the longer side down, as torchvision and transformers do.

    Examples
    --------
    >>> fitted_size(48, 65, 32, "squash"), fitted_size(48, 65, 32, "crop")
    ((32, 32), (32, 43))
    >>> fitted_size(48, 65, 32, "pad"), fitted_size(48, 65, 32, "crop:40")
    ((24, 32), (40, 54))
    """
    if fit == "squash":
        return size, size
    if fit.startswith(CROP):
        edge, short = int(fit.removeprefix(CROP)), min(height, width)
        return edge * height // short, edge * width // short
    scale = size / (min(height, width) if fit == "crop" else max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
