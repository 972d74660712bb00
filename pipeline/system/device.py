"""Choose the device of a command, and check its precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from featstore.errors import InputError
from pipeline.system.precision import Precision

PROCESSOR = Path("/proc/cpuinfo")  # Linux
# Flags of processors that multiply in bfloat16.
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
# Devices of torch that this project has never computed on.
UNSUPPORTED = ("mps", "xpu", "hpu", "vulkan")
AMPERE = (8, 0)  # the first that computes in tf32 and bf16


def choose_device(
    name: str, precision: Precision = "float32", *, option: str = "--precision"
) -> torch.device:
    """Return the device of ``--device``; ``auto`` is a GPU if there is one.

    Products in float32 are then rounded to tf32 only with that precision; by default, torch rounds
    those of convolutions and recurrent layers.

    `option` is the option that set the precision, for messages.

    Raises
    ------
    InputError
        If the device is unknown or unusable here, or does not support the precision.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] in UNSUPPORTED:
        raise InputError(
            f"--device is {name!r}, which is not supported; give auto, cpu, cuda or cuda:N."
        )
    try:
        sample = torch.zeros(1, device=name)
        sample.cpu()  # meta has no values
    except (RuntimeError, AssertionError, ImportError) as error:  # torch raises any of these
        reason = str(error).partition("\n")[0]
        usable = "auto, cpu, cuda or cuda:N" if torch.cuda.is_available() else "auto or cpu"
        raise InputError(
            f"--device is {name!r}, which cannot be used here ({reason}); pass {usable}."
        ) from None
    device = sample.device
    check_precision(precision, device, option=option)
    allow_tf32(precision == "tf32")
    return device


def allow_tf32(allowed: bool) -> None:
    """Let a GPU round the inputs of products in float32 to 10 bits, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array on a device, without waiting for the copy to a GPU.

    On the CPU the tensor shares the array's memory.
    """
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory, copies wait for the GPU
    return tensor.to(device, non_blocking=True)


def check_precision(
    precision: Precision, device: torch.device, *, option: str = "--precision"
) -> None:
    """Refuse a precision that a device does not support.

    Raises
    ------
    InputError
    """
    start = f"{option} is {precision}, "
    if device.type == "cpu" and precision in ("tf32", "fp16"):
        raise InputError(f"{start}which needs a GPU; pass bf16 or float32, or another --device.")
    if device.type == "cpu" and precision == "bf16" and not has_bf16():
        raise InputError(
            f"{start}but this processor has no instructions for it (AVX512_BF16, AMX), so it would "
            f"be slower than float32; omit {option}."
        )
    if (
        device.type == "cuda"
        and precision in ("tf32", "bf16")
        and torch.cuda.get_device_capability(device) < AMPERE
    ):
        name = torch.cuda.get_device_name(device)
        raise InputError(f"{start}which {name} does not support; pass fp16 or float32.")


def has_bf16() -> bool:
    """Tell whether the processor multiplies in bfloat16."""
    try:
        return not BF16_FLAGS.isdisjoint(PROCESSOR.read_text("utf-8").split())
    except OSError:
        return False
