"""Features of one unit after the other: decode ahead, preprocess, run the backbone in batches."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featstore.errors import InputError
from models.backbones import Backbone, fold_batch_norm, to_single_channel
from pipeline.batches import Batches
from pipeline.options import BuildOptions, PixelMode, fixed_normalisation
from pipeline.plan import Segment
from pipeline.preprocess import prepare
from pipeline.read_ahead import read_ahead
from pipeline.statistics import Statistics
from pipeline.video.catalogue import Video
from pipeline.video.decode import Lost, Picture, decode_all

# Frames travel from the decoder in blocks of one size, small enough that a few fit in memory.
BLOCK_FRAMES = 16
BLOCK_BYTES = 16 * 2**20
BATCH_SIZES = {("cpu", False): 16, ("cpu", True): 4, ("cuda", False): 128, ("cuda", True): 16}


@dataclass(slots=True)
class Timings:
    """Seconds spent by stage; decoding runs beside the others, in as many threads as workers."""

    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, stage: str, since: float) -> float:
        """Add the time since `since` to a stage and return the time now."""
        now = time.perf_counter()
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


@dataclass(frozen=True, slots=True)
class UnitRows:
    """The rows of one unit that were to be computed.

    Attributes
    ----------
    rows : ndarray of float32, shape (rows, dim)
        NaN where a frame did not decode.
    failed : dict of int to str
        Number of a row that failed to why.
    """

    rows: NDArray[np.float32]
    failed: dict[int, str]


@dataclass(frozen=True, slots=True)
class Block:
    """Frames of one segment, of one size, as decoded."""

    numbers: list[int]
    pictures: Picture


def fold(backbone: Backbone, options: BuildOptions, mode: PixelMode) -> Backbone:
    """Return a backbone that gives the same features sooner, but for their last bits.

    Batch norm becomes part of the convolutions, and grey pictures that are normalised by one mean
    and one std enter as one channel.
    """
    fixed = fixed_normalisation(options.normalise)
    if mode == "luma" and (fixed is None or len(fixed[0]) == 1):
        backbone = to_single_channel(backbone)
    return fold_batch_norm(backbone)


def batch_shape(options: BuildOptions, device: torch.device, channels: int = 3) -> list[int]:
    """Return the one shape that every forward has."""
    windowed = options.takes_windows
    size = options.batch_size or BATCH_SIZES.get((device.type, windowed), 16)
    frames = [options.window] if windowed else []
    return [size, channels, *frames, options.size, options.size]


def numerics(device: torch.device, shape: Sequence[int]) -> dict[str, Any]:
    """Return what decides the last bits of features, beside what the keys cover."""
    import torchvision  # behind torch, and after the backbone has declared its operators

    on_gpu = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pyav": av.__version__,
        "ffmpeg": ".".join(map(str, av.library_versions["libavcodec"])),
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": "float32",
        "memory_format": "channels_last",
        "batch_norm": "folded where the network can be traced",
        "batch_shape": list(shape),
    }


@torch.inference_mode()
def feature_dim(backbone: Backbone, shape: Sequence[int], device: torch.device) -> int:
    """Return the length of a feature vector, from one forward.

    Raises
    ------
    InputError
        If the backbone cannot take inputs of this shape.
    """
    try:
        return int(backbone(torch.zeros([2, *shape[1:]], device=device)).shape[1])
    except (RuntimeError, AssertionError) as error:  # torch raises one, timm the other
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"--size is {shape[-1]}, and the backbone cannot take it ({reason}); give another size."
        ) from None


class Extractor:
    """Computes features in batches of one shape.

    Parameters
    ----------
    backbone : Backbone
    videos : sequence of Video
    options : BuildOptions
    mode : {"luma", "rgb"}
    statistics : Statistics
    device : torch.device
    dim : int
        Length of a feature vector.
    """

    def __init__(
        self,
        backbone: Backbone,
        videos: Sequence[Video],
        options: BuildOptions,
        mode: PixelMode,
        statistics: Statistics,
        device: torch.device,
        dim: int,
    ) -> None:
        self._videos, self._options, self._mode = videos, options, mode
        self._statistics, self._device, self._dim = statistics, device, dim
        self._shape = batch_shape(options, device, backbone.channels)
        self._format = torch.channels_last_3d if options.takes_windows else torch.channels_last
        self._backbone = backbone.to(device, memory_format=self._format)  # type: ignore[call-overload]
        self.timings = Timings()
        keep_freed_memory()
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False

    @torch.inference_mode()
    def depends_on_place(self) -> dict[str, bool]:
        """Return what the numerics say if a row's bits depend on its place in the batch.

        Some kernels treat what is left over when they divide a batch among threads otherwise. Then
        rows of two batches that are composed otherwise are not the same.
        """
        x = torch.randn(self._shape, generator=torch.Generator().manual_seed(0)).to(self._device)
        expected = self._backbone(x.contiguous(memory_format=self._format))
        for places in sorted({1, self._shape[0] // 2, self._shape[0] - 1} - {0}):
            turned = x.roll(places, 0).contiguous(memory_format=self._format)
            if not torch.equal(self._backbone(turned).roll(-places, 0), expected):
                return {"depends_on_place": True}
        return {}

    def units(
        self, work: Sequence[list[Segment]], tick: Callable[[int, int], None]
    ) -> Iterator[UnitRows]:
        """Yield the rows of every unit, in order.

        Parameters
        ----------
        work : sequence of list of Segment
        tick : callable
            Told, as work goes on, how many more inputs were computed and frames were decoded.
        """
        # In the order in which `_unit` asks for them.
        streams = (self._decode(segment) for unit in work for segment in unit)
        with read_ahead(streams, threads=self._options.workers) as blocks:
            for unit in work:
                yield self._unit(unit, blocks, tick)

    def _decode(self, segment: Segment) -> Iterator[Block | Lost]:
        """Yield the frames of one segment."""
        video = self._videos[segment.video]
        wanted = np.unique(segment.inputs)
        yield from self._blocks(decode_all(video.path, video.index, wanted, self._mode))

    def _blocks(self, frames: Iterator[tuple[int, Picture] | Lost]) -> Iterator[Block | Lost]:
        numbers: list[int] = []
        pictures: list[Picture] = []
        since = time.perf_counter()
        for found in chain(frames, [None]):  # the end
            if isinstance(found, tuple):
                number, picture = found
                most = max(1, min(BLOCK_FRAMES, BLOCK_BYTES // picture.nbytes))
                full = len(numbers) >= most or (pictures and picture.shape != pictures[0].shape)
            if pictures and (not isinstance(found, tuple) or full):
                self.timings.add("decode", since)
                yield Block(numbers, np.stack(pictures))  # type: ignore[arg-type]
                numbers, pictures = [], []
                since = time.perf_counter()
            if isinstance(found, Lost):
                yield found
            elif found is not None:
                numbers.append(number)
                pictures.append(picture)

    @torch.inference_mode()
    def _unit(
        self, unit: list[Segment], blocks: Iterator[Block | Lost], tick: Callable[[int, int], None]
    ) -> UnitRows:
        work = Batches(self._shape[0], self._forward, tick)
        for segment in unit:
            for x in self._inputs(segment, blocks, tick):
                work.add(x)
        features, failed = work.finish(self._dim)
        sizes = np.cumsum([0, *(len(segment.inputs) for segment in unit)])
        rows = np.concatenate(
            [segment.rows + offset for segment, offset in zip(unit, sizes.tolist(), strict=False)]
        )
        reasons = {row: failed[own] for row, own in enumerate(rows.tolist()) if own in failed}
        return UnitRows(features[rows], reasons)

    def _inputs(
        self, segment: Segment, blocks: Iterator[Block | Lost], tick: Callable[[int, int], None]
    ) -> Iterator[Tensor | str]:
        """Yield the backbone's inputs of one segment, or why one is lost.

        Frames are kept as long as they are needed.
        """
        frames: dict[int, Tensor | str] = {}
        for wanted in segment.inputs.tolist():
            while wanted[-1] not in frames:
                frames |= self._next(segment, blocks, tick)
            window = [frames[number] for number in wanted]
            lost = next((frame for frame in window if isinstance(frame, str)), None)
            if lost is not None:
                yield lost
            else:
                yield torch.stack(window, dim=1) if self._options.takes_windows else window[0]  # type: ignore[arg-type]
            for number in [number for number in frames if number < wanted[0]]:
                del frames[number]

    def _next(
        self, segment: Segment, blocks: Iterator[Block | Lost], tick: Callable[[int, int], None]
    ) -> dict[int, Tensor | str]:
        """Return the next frames of a segment, prepared, or why they are lost."""
        since = time.perf_counter()
        block = next(blocks)
        if isinstance(block, Lost):
            return dict.fromkeys(block.frames, block.reason)
        tick(0, len(block.numbers))
        since = self.timings.add("wait for frames", since)
        prepared = prepare(
            block.pictures,
            self._videos[segment.video].index,
            size=self._options.size,
            fit=self._options.fit,
            mean=self._statistics.mean,
            std=self._statistics.std,
            channels=self._shape[1],
            device=self._device,
        )
        self.timings.add("preprocess", since)
        return dict(zip(block.numbers, prepared, strict=True))

    def _forward(self, inputs: list[Tensor]) -> Tensor:
        """Return features of up to a batch of inputs, on the CPU; the batch is filled with zeros.

        Every forward has one shape, because another shape can give other last bits.
        """
        since = time.perf_counter()
        batch = torch.zeros(self._shape, device=self._device)
        torch.stack(inputs, out=batch[: len(inputs)])
        out = self._backbone(batch.contiguous(memory_format=self._format))
        features: Tensor = out[: len(inputs)].float().cpu()
        self.timings.add("backbone", since)
        return features


def keep_freed_memory() -> None:
    """Tell glibc to keep large blocks that are freed instead of returning them to the system.

    A forward frees and takes hundreds of megabytes. By default each block is mapped and unmapped
    anew, and half of the processor's time goes into clearing pages. Does nothing with another C
    library.
    """
    mmap_max, trim_threshold = -4, -1  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
