"""The step of `gpu.py` that runs out of memory on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from gpu_build import build, options_of
from gpu_lab import Lab, Row, sentence

import featstore
from featstore.errors import InputError
from pipeline.build import executors
from pipeline.build.extract.backbone import fitting_batch, load_backbone
from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.plan.options import BuildOptions
from pipeline.build.plan.weights import Weights

# Small batches and units, so that some units are finished before memory runs out.
BATCH, UNIT_BYTES = 4, 2**13
LITTLE = 2**30  # bytes


@contextmanager
def little_memory(device: torch.device, most: int) -> Iterator[None]:
    """Let torch take so many bytes of the device's memory."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(most / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def exhaust(lab: Lab) -> Iterator[Row]:
    """Run out of memory on purpose: the batch size that is found, the sentence, the resumed build.

    Without a GPU the error is raised where a GPU would raise it.
    """
    name, size = next(iter(lab.backbones.items()))
    device = lab.where
    if device.type == "cuda":

        def find() -> Row:
            network = load_backbone(name, Weights("random"))
            with little_memory(device, LITTLE):
                return {"batch_size": fitting_batch(network, [256, 3, size, size], device)}

        yield lab.attempt({"what": "batch size in 1 GiB"}, find)

    write, run, written = executors.write_unit, BatchRunner._run, list[int]()

    def noted(files: Any, unit: int, *rest: Any) -> Any:
        written.append(unit)
        return write(files, unit, *rest)

    def full(runner: BatchRunner, inputs: list[torch.Tensor]) -> torch.Tensor:
        if not written:
            return run(runner, inputs)
        if device.type != "cuda":
            raise torch.OutOfMemoryError("raised on purpose")
        with little_memory(device, 1):
            return run(runner, inputs)

    def resume() -> Row:
        options = [
            options_of(lab, "few.csv", lab.empty(folder).name, name, size, batch_size=BATCH)
            for folder in ("whole", "parts")
        ]
        lines: list[str] = []
        with mock.patch("featstore.format.layout.CHUNK_BYTES", UNIT_BYTES):
            whole, _ = build(options[0])
            with (
                mock.patch.object(executors, "write_unit", noted),
                mock.patch.object(BatchRunner, "_run", full),
            ):
                said = _error_of(options[1])
            resumed, _ = build(options[1], lines.append)
        pairs = zip(featstore.open(whole.path), featstore.open(resumed.path), strict=True)
        return {
            "sentence": said,
            "resumed": next(line for line in lines if line.startswith("resuming")),
            "same_bytes": all(np.array_equal(one, other) for one, other in pairs),
        }

    yield lab.attempt({"what": "out of memory, then the same command"}, resume)


def _error_of(options: BuildOptions) -> str:
    """Return the message of a build that runs out of memory."""
    try:
        build(options)
    except InputError as error:
        return sentence(error)
    raise RuntimeError("the build did not run out of memory")
