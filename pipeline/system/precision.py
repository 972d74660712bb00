"""precision."""

from __future__ import annotations

from typing import Literal

import torch

REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}

Precision = Literal["float32", "tf32", "bf16", "fp16"]


def allow_tf32(allowed: bool) -> None:
    """Let a GPU round the inputs of products in float32 to 10 bits, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
