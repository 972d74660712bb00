"""The device that a command computes on."""

from __future__ import annotations

from pathlib import Path

import torch

from featstore.errors import InputError
from pipeline.system.precision import Precision

PROCESSOR = Path("/proc/cpuinfo")  # Linux
# What processors that multiply in bfloat16 say of themselves.
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
AMPERE = (8, 0)  # the first that computes in tf32 and bf16


def choose_device(
    name: str, precision: Precision = "float32", *, said: str = "--precision"
) -> torch.device:
    """Return the device that ``--device`` names; ``auto`` is a GPU where there is one.

    `said` is where the precision was, for messages.

    Raises
    ------
    InputError
        If torch knows no such device, cannot use it here, or it does not compute in this precision.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        sample = torch.zeros(1, device=name)
        sample.cpu()  # meta has no values
    except (RuntimeError, AssertionError, ImportError) as error:  # torch raises any
        reason = str(error).partition("\n")[0]
        known = "auto, cpu, cuda or cuda:N" if torch.cuda.is_available() else "auto or cpu"
        raise InputError(
            f"--device is {name!r}, which cannot be used here ({reason}); give {known}."
        ) from None
    device = sample.device
    check_precision(precision, device, said=said)
    return device


def check_precision(
    precision: Precision, device: torch.device, *, said: str = "--precision"
) -> None:
    """Refuse a precision that a device does not compute in.

    Raises
    ------
    InputError
    """
    given = f"{said} is {precision}, "
    if device.type == "cpu" and precision in ("tf32", "fp16"):
        raise InputError(f"{given}which needs a GPU; give bf16 or float32, or another --device.")
    if device.type == "cpu" and precision == "bf16" and not has_bf16():
        raise InputError(
            f"{given}and this processor has no instructions for it (AVX512_BF16, AMX), so it would "
            f"be slower than float32; leave {said} out."
        )
    if (
        device.type == "cuda"
        and precision in ("tf32", "bf16")
        and torch.cuda.get_device_capability(device) < AMPERE
    ):
        name = torch.cuda.get_device_name(device)
        raise InputError(f"{given}which {name} does not have; give fp16 or float32.")


def has_bf16() -> bool:
    """Tell whether the processor multiplies in bfloat16."""
    try:
        return not BF16_FLAGS.isdisjoint(PROCESSOR.read_text("utf-8").split())
    except OSError:
        return False
