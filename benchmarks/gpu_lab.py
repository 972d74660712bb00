"""What the steps of `gpu.py` share: the device, sizes, the time that is left, and rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from featstore.errors import InputError
from pipeline.system.device import choose_device

Row = dict[str, Any]

# Each with the size of its pictures; r3d_18 was trained on 112.
BACKBONES = {
    "resnet18": 224,
    "mobilenet_v2": 224,
    "convnext_tiny": 224,
    "vit_b_16": 224,
    "r3d_18": 112,
}
QUICK_BACKBONES = {"resnet18": 32, "r3d_18": 32}
PRECISIONS = ("float32", "tf32", "bf16", "fp16")
QUICK_PRECISIONS = ("float32", "tf32")
TUNED_PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes
    ----------
    drawn : int
        Frames that are drawn and encoded; the recording repeats them.
    minutes : float
        Length of the recording.
    few : int
        Clips that the CPU extracts too.
    clips, epochs : int
        Of a training.
    seeds, seed_epochs : int
        Trainings of `--seeds`, and epochs of each.
    tune_clips : int
        Clips whose frames a backbone is finetuned on.
    """

    drawn: int
    minutes: float
    few: int
    clips: int
    epochs: int
    seeds: int
    seed_epochs: int
    tune_clips: int


FULL = Sizes(900, 30, 8, 3300, 4, 8, 2, 60)
QUICK = Sizes(60, 0.4, 3, 80, 2, 2, 1, 12)


@dataclass(frozen=True, slots=True)
class Lab:
    """Where a step measures.

    Attributes
    ----------
    folder : Path
        Holds what steps leave for others.
    device : str
        As `featstore build --device` takes it.
    quick : bool
        Tiny sizes, which tell nothing but that everything runs.
    ends : float
        Seconds since the epoch at which the budget is spent.
    """

    folder: Path
    device: str
    quick: bool
    ends: float

    @property
    def sizes(self) -> Sizes:
        """How much is measured."""
        return QUICK if self.quick else FULL

    @property
    def backbones(self) -> dict[str, int]:
        """Names of backbones, and the size of their pictures."""
        return QUICK_BACKBONES if self.quick else BACKBONES

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions of builds."""
        return QUICK_PRECISIONS if self.quick else PRECISIONS

    @property
    def left(self) -> float:
        """Seconds until the budget is spent."""
        return self.ends - time.time()

    @property
    def where(self) -> torch.device:
        """The device."""
        return choose_device(self.device)

    def path(self, name: str, step: str) -> Path:
        """Return a file or folder that another step left.

        Raises
        ------
        InputError
            If it is not there.
        """
        path = self.folder / name
        if not path.exists():
            raise InputError(f"{path} is missing; run the step {step} first.")
        return path

    def empty(self, name: str) -> Path:
        """Return a path in the folder at which nothing is left of an earlier run."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def attempt(self, name: Row, work: Callable[[], Row]) -> Row:
        """Return a row: its name, and the result, the error, or that no time was left."""
        if self.left <= 0:
            return name | {"skipped": "the budget was spent"}
        try:
            return name | work()
        except Exception as error:  # the other rows may still be measured
            return name | {"error": sentence(error)}


def sentence(error: BaseException) -> str:
    """Return what went wrong, in one line; with the type unless the project wrote the message."""
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def finish(device: torch.device) -> None:
    """Wait until a GPU has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return how long something takes, until the device has done it."""
    finish(device)
    began = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - began


def silent(line: str) -> None:
    """Log nothing."""
