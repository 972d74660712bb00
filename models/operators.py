"""Lets torchvision be imported beside a torch of another build.

torchvision's wheel carries operators compiled for CUDA. Beside a CPU-only torch they do not load,
and then ``import torchvision`` itself fails, because it attaches Python code to the operators
``nms`` and ``qnms``, which do not exist. Nothing here calls them, so it is enough that their
schemas are declared. Where the compiled operators load, nothing is declared.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import torch


@cache
def declare_missing_operators() -> torch.library.Library | None:
    """Declare torchvision's operators if its own do not load; call before importing it.

    Returns
    -------
    torch.library.Library or None
        Keeps the declarations alive; None where torchvision's own operators load, or where
        torchvision is not installed.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    for compiled in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
        except OSError:
            break
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    return library
