"""Names of the precisions that a backbone or a training computes in."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "tf32", "bf16", "fp16"]
