"""Batches of one shape through a frozen backbone, several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from featstore.errors import InputError
from models.backbones import Backbone
from pipeline.build.extract.timings import Timings
from pipeline.system.device import allow_tf32
from pipeline.system.memory import keep_freed_memory
from pipeline.system.precision import Precision
from pipeline.system.threads import computes, processors, turns

REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}

T = TypeVar("T")
# Every batch that is computed at the same time takes memory of its own.
MAX_BATCHES = 8
# While a GPU computes one batch, the next one is put together and the last one is fetched.
GPU_BATCHES = 2


def concurrency_of(device: torch.device) -> tuple[int, int]:
    """Return how many batches are computed at once, and by how many threads each.

    On a CPU a batch has one thread, up to `MAX_BATCHES` batches: threads that share a batch wait
    for each other after every layer, and for a decoder that has taken one's processor. It also
    makes the last bits independent of the number of processors.
    """
    if device.type != "cpu":
        return GPU_BATCHES, 1
    processors = torch.get_num_threads()
    threads = -(-processors // MAX_BATCHES)
    return processors // threads, threads


class BatchRunner:
    """Runs a backbone on several batches at once, one in each of its threads.

    Parameters
    ----------
    backbone : Backbone
        Is moved to the device.
    shape : sequence of int
        Of every batch.
    device : torch.device
    precision : {"float32", "tf32", "bf16", "fp16"}
    timings : Timings, optional

    Attributes
    ----------
    count : int
        Batches computed at once.
    turns : context manager
        To be entered by other threads that compute. Where torch has a thread for each processor,
        and those are no more than `MAX_BATCHES`, as many compute at once; else they are not
        counted.
    error : dict of str to float or None
        What `precision` costs; measured on the first batch, None for float32.
    """

    def __init__(
        self,
        backbone: Backbone,
        shape: Sequence[int],
        device: torch.device,
        precision: Precision = "float32",
        timings: Timings | None = None,
    ) -> None:
        self._shape, self._device, self._precision = list(shape), device, precision
        self._format = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
        self._backbone = backbone.to(device, memory_format=self._format)  # type: ignore[call-overload]
        self._timings = timings or Timings()
        self.error: dict[str, float] | None = None
        keep_freed_memory()
        allow_tf32(precision == "tf32")
        self.count, self._threads = concurrency_of(device)
        every = device.type == "cpu" and self.count == processors()  # has a thread of torch
        self.turns = turns(self.count if every else None)
        self._pool = ThreadPoolExecutor(self.count, "batch", _enter, (device, self._threads))

    @contextmanager
    def open(self) -> Iterator[None]:
        """Give torch this runner's number of threads; batches are submitted within.

        A part of that number belongs to the thread that sets it, another to the process, also to
        the threads that it begins.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def submit(self, inputs: list[Tensor]) -> Future[Tensor]:
        """Compute up to a batch of inputs; the result is float32 and on the CPU.

        Every forward has one shape, because another shape can give other last bits: what is missing
        of a batch is zeros.
        """
        if self._precision != "float32" and self.error is None:
            self.error = self._send(self._deviation, inputs).result()
        return self._send(self._run, inputs)

    def depends_on_place(self) -> bool:
        """Tell whether a row's bits depend on its place in the batch.

        Some kernels treat what is left over when they divide a batch among threads otherwise. Then
        rows of two batches that are composed otherwise are not the same. Every row is compared with
        itself one place further, the last one with itself at the first place.
        """
        x = torch.randn(self._shape, generator=torch.Generator().manual_seed(0)).to(self._device)
        with self.open():
            here, further = (self._send(self._computed, list(batch)) for batch in (x, x.roll(1, 0)))
            return not torch.equal(here.result().roll(1, 0), further.result())

    def _send(self, function: Callable[[list[Tensor]], T], inputs: list[Tensor]) -> Future[T]:
        """Call a function in a thread, after the GPU has made the inputs."""
        if self._device.type != "cuda":
            return self._pool.submit(function, inputs)
        made = torch.cuda.current_stream(self._device).record_event()

        def behind() -> T:
            torch.cuda.current_stream(self._device).wait_event(made)
            return function(inputs)

        return self._pool.submit(behind)

    def _run(self, inputs: list[Tensor]) -> Tensor:
        with self.turns:
            since = time.perf_counter()
            features = self._computed(inputs)
            if self._precision == "fp16":
                self._check_range(features)
            self._timings.add("backbone", since)
        return features

    @torch.inference_mode()
    def _computed(self, inputs: list[Tensor]) -> Tensor:
        return self._features(self._batch(inputs))[: len(inputs)].cpu()

    def _batch(self, inputs: list[Tensor]) -> Tensor:
        batch = torch.empty(self._shape, device=self._device, memory_format=self._format)
        torch.stack(inputs, out=batch[: len(inputs)])
        batch[len(inputs) :] = 0
        return batch

    def _features(self, batch: Tensor, *, exactly: bool = False) -> Tensor:
        dtype = None if exactly else REDUCED.get(self._precision)
        with torch.autocast(self._device.type, dtype, enabled=dtype is not None):
            features: Tensor = self._backbone(batch)
        return features.float()

    @torch.inference_mode()
    def _deviation(self, inputs: list[Tensor]) -> dict[str, float]:
        """Return how far the features of a batch are from those in float32."""
        batch = self._batch(inputs)
        features = self._features(batch)[: len(inputs)].double()
        self._check_range(features)
        allow_tf32(False)
        exact = self._features(batch, exactly=True)[: len(inputs)].double()
        allow_tf32(self._precision == "tf32")
        size = float(exact.norm())
        return {
            "relative_rms": float((features - exact).norm()) / size if size else 0.0,
            "largest_absolute": float((features - exact).abs().max()),
        }

    def _check_range(self, features: Tensor) -> None:
        if not features.isfinite().all():
            raise InputError(
                f"With --precision {self._precision} features of this backbone are not finite; "
                "give --precision bf16, which has the range of float32, or float32."
            )


def _enter(device: torch.device, threads: int) -> None:
    computes()
    torch.set_num_threads(threads)
    if device.type == "cuda":
        # Its own, so that fetching a result waits for no other batch.
        torch.cuda.set_stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
