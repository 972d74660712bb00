"""Make torchvision importable with a torch of another build.

torchvision's wheel contains operators compiled for CUDA. They do not load with a CPU-only torch.
Then ``import torchvision`` fails, because it attaches Python code to the missing operators ``nms``
and ``qnms``. This project never calls them, so declaring their schemas is enough. If the compiled
operators load, nothing is declared.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import torch


@cache
def declare_missing_operators() -> torch.library.Library | None:
    """Declare torchvision's operators if the compiled ones do not load; call before importing it.

    Returns
    -------
    torch.library.Library or None
        Keeps the declarations alive; None if the compiled operators load, or torchvision is not
        installed.
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
