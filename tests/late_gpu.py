"""A GPU that does everything as late as CUDA allows, so that a wait that is missing is seen.

Work on a stream is done in order, and only once somebody waits for it. Who reads without waiting
reads zeros. Tensors stay on the CPU.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from pipeline.build.extract import backbone as backbone_module
from pipeline.build.extract import extractor
from pipeline.build.extract.backbone import Forward, batch_shape
from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.plan.extraction import Extraction

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
EVERY = 16  # pixels between those that are features

prepare, stack = extractor.prepare, torch.stack


class LateStream:
    """Work that nobody has waited for yet, in order."""

    lock = threading.RLock()  # one device works for one thread at a time

    def __init__(self, device: torch.device = GPU) -> None:
        self.device = device
        self._work: deque[Callable[[], object]] = deque()

    def ask(self, work: Callable[[], object]) -> None:
        self._work.append(work)

    def work_until(self, event: "LateEvent") -> None:
        with self.lock:
            while not event.happened:
                self._work.popleft()()

    def record_event(self) -> "LateEvent":
        event = LateEvent(self)
        self.ask(event.happen)
        return event

    def wait_event(self, event: "LateEvent") -> None:
        self.ask(event.synchronize)

    def wait_stream(self, other: "LateStream") -> None:
        self.wait_event(other.record_event())

    def synchronize(self) -> None:
        self.record_event().synchronize()


class LateEvent:
    """Happens when its stream comes to it."""

    def __init__(self, stream: LateStream) -> None:
        self._stream, self.happened = stream, False

    def happen(self) -> None:
        self.happened = True

    def synchronize(self) -> None:
        self._stream.work_until(self)


class LateGpu:
    """What torch.cuda is to a build, on a machine without a GPU.

    Attributes
    ----------
    kept : list of LateStream
        The streams that `torch.Tensor.record_stream` was told of.
    """

    def __init__(self) -> None:
        self._thread, self.default = threading.local(), LateStream()
        self.kept: list[LateStream] = []

    def current_stream(self, device: torch.device | None = None) -> LateStream:
        return getattr(self._thread, "stream", self.default)

    def set_stream(self, stream: LateStream) -> None:
        self._thread.stream = stream

    @contextmanager
    def stream(self, stream: LateStream) -> Iterator[None]:
        before = self.current_stream()
        self._thread.stream = stream
        try:
            yield
        finally:
            self._thread.stream = before

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let builds compute on this GPU, which takes pixels as features."""
        for name in ("current_stream", "set_stream", "stream"):
            patch.setattr(torch.cuda, name, getattr(self, name))
        patch.setattr(torch.cuda, "Stream", LateStream)
        patch.setattr(Tensor, "record_stream", lambda tensor, stream: self.kept.append(stream))
        patch.setattr(torch, "stack", self._stack)
        patch.setattr(extractor, "prepare", self._prepare)
        patch.setattr(BatchRunner, "_computed", lambda runner, inputs: self._computed(inputs))
        patch.setattr(BatchRunner, "depends_on_place", lambda runner: False)
        compute_pixels(patch, GPU)

    def _late(self, shape: list[int], values: Callable[[], Tensor]) -> Tensor:
        """Return zeros that become these values when the current stream comes to it."""
        target = torch.zeros(shape)

        def fill() -> None:
            target.numpy()[:] = values().numpy()

        self.current_stream().ask(fill)
        return target

    def _prepare(self, *given: object, **more: object) -> Tensor:
        values = prepare(*given, **{**more, "device": CPU})  # type: ignore[arg-type]
        return self._late(list(values.shape), lambda: values)

    def _stack(self, tensors: list[Tensor], dim: int = 0) -> Tensor:
        shape = list(tensors[0].shape)
        shape.insert(dim, len(tensors))
        return self._late(shape, lambda: stack(tensors, dim))

    def _computed(self, inputs: list[Tensor]) -> Tensor:
        shape = Pixels()(inputs[0][None]).shape
        features = self._late([len(inputs), shape[1]], lambda: Pixels()(stack(inputs)))
        self.current_stream().synchronize()
        return features


class Pixels(torch.nn.Module):
    """Takes pixels on a grid as features."""

    channels = 1

    def to(self, *given: object, **more: object) -> "Pixels":
        return self  # where there is no GPU, too

    def forward(self, x: Tensor) -> Tensor:
        return x[..., EVERY // 2 :: EVERY, EVERY // 2 :: EVERY].flatten(1)


def compute_pixels(
    patch: pytest.MonkeyPatch, device: torch.device, network: Pixels | None = None
) -> None:
    """Let builds take pixels as features, on a device."""

    def load_forward(extraction: Extraction) -> Forward:
        shape = batch_shape(extraction, device, Pixels.channels)
        dim = Pixels()(torch.zeros(shape)).shape[1]
        numerics = {"batch_shape": shape}
        return Forward(network or Pixels(), extraction, device, dim, numerics)  # type: ignore[arg-type]

    patch.setattr(backbone_module, "load_forward", load_forward)
