"""Names of the precisions of a backbone or a training."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "tf32", "bf16", "fp16"]
