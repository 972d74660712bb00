"""Features of one unit after the other: decode ahead, preprocess, run the backbone in batches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featstore.errors import InputError
from pipeline.build.extract.backbone import Forward
from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.extract.batching import Batches, RowStream, UnitFeatures
from pipeline.build.extract.buffers import Blocks, Uploads
from pipeline.build.extract.preprocess import prepare
from pipeline.build.extract.statistics import Statistics
from pipeline.build.extract.timings import FRAMES_WAITED, Timings
from pipeline.build.plan.steps import Segment
from pipeline.system.read_ahead import read_ahead
from pipeline.types import Tick
from pipeline.video.decode import Lost, decode, decode_all
from pipeline.video.decoders import decoding
from pipeline.video.limits import decoders_at_once
from pipeline.video.pieces import PIECE_FRAMES, pieces
from pipeline.video.pixels import Picture
from pipeline.video.videos import Video

# Frames are prepared in blocks of one size. Large ones suit a GPU; on a CPU, one frame stays in
# the processor's cache, and leaves no holes in the heap.
BLOCK_FRAMES = {"cpu": 1, "cuda": 16}
BLOCK_BYTES = 16 * 2**20
# About what a piece has, so that a thread need not wait until its piece is due.
BLOCKS_WAITING = {device: PIECE_FRAMES // frames for device, frames in BLOCK_FRAMES.items()}
# A CPU decodes for as long as it computes a batch.
BLOCKS_A_TURN = {"cpu": 16, "cuda": 1}


Interval = tuple[int, int]  # of a clip, in frames


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
    """Frames of one segment, of one size, as the backbone takes them."""

    numbers: list[int]
    frames: Tensor


class Extractor:
    """Computes features in batches of one shape.

    Threads decode and prepare frames, others run the backbone, and whoever reads `units` may write
    meanwhile; what waits between them is bounded.

    Parameters
    ----------
    forward : Forward
    videos : sequence of Video, or mapping of int to Video
    statistics : Statistics

    Attributes
    ----------
    timings : Timings
    """

    def __init__(
        self,
        forward: Forward,
        videos: Sequence[Video] | Mapping[int, Video],
        statistics: Statistics,
    ) -> None:
        self.videos, self._extraction = videos, forward.extraction
        self._statistics, self._device, self._dim = statistics, forward.device, forward.dim
        self._shape = forward.numerics["batch_shape"]
        self.timings = Timings()
        self._blocks = Blocks()
        self._runner = BatchRunner(
            forward.backbone, self._shape, self._device, self._extraction.precision, self.timings
        )
        self._uploads = Uploads(self._device)

    def facts(self) -> dict[str, Any]:
        """Return what was counted since the timings were cleared, and what the precision costs.

        That is measured on the first batch; see `BatchRunner.error`.
        """
        error = self._runner.error
        return self.timings.counts | ({} if error is None else {"precision_error": error})

    def depends_on_place(self) -> dict[str, bool]:
        """Return what the numerics say if a row's bits depend on its place in the batch."""
        return {"depends_on_place": True} if self._runner.depends_on_place() else {}

    def units(self, work: Sequence[list[Segment]], tick: Tick) -> Iterator[UnitRows]:
        """Yield the rows of every unit, in order.

        While one is yielded, batches of the next one are computed.

        Parameters
        ----------
        work : sequence of list of Segment
        tick : callable
            Told, as work goes on, how many more inputs were computed and frames were decoded.

        Raises
        ------
        InputError
            If the device has too little memory.
        """
        waiting = BLOCKS_WAITING[self._device.type]
        # In the order in which `_computed` asks for them.
        streams = chain.from_iterable(self._pieces(segment) for unit in work for segment in unit)
        try:
            with (
                self._runner.open(),
                read_ahead(streams, threads=self._threads(work), most=waiting) as blocks,
            ):
                yield from self._computed(work, blocks, tick)
        except torch.OutOfMemoryError:
            raise InputError(too_large(self._shape[0], self._device)) from None

    def stream(self, segment: Segment, tick: Tick) -> Iterator[NDArray[np.float32] | str]:
        """Yield the features of each input of a segment in order, or why one is lost.

        What waits to be yielded is bounded, however long the video is.

        Parameters
        ----------
        segment : Segment
        tick : callable
            See `units`.

        Yields
        ------
        ndarray of float32, shape (dim,), or str

        Raises
        ------
        InputError
            If the device has too little memory.
        """
        waiting = BLOCKS_WAITING[self._device.type]
        rows = RowStream()
        batches = Batches(self._runner, self._shape[0], tick, self.timings)
        try:
            with (
                self._runner.open(),
                read_ahead(
                    self._pieces(segment), threads=self._threads([[segment]]), most=waiting
                ) as blocks,
            ):
                for x in self._inputs(segment, blocks, tick):
                    batches.add(x, rows)
                    yield from rows.ready()
                batches.flush(rows)
                batches.drain()
                yield from rows.ready()
        except torch.OutOfMemoryError:
            raise InputError(too_large(self._shape[0], self._device)) from None

    def _threads(self, work: Sequence[list[Segment]]) -> int:
        """Return how many pieces are decoded at once: fewer where pictures are huge."""
        indexes = {segment.video: self.videos[segment.video].index for u in work for segment in u}
        largest = max((index.width * index.height for index in indexes.values()), default=0)
        return decoders_at_once(self._extraction.workers, largest)

    def _computed(
        self, work: Sequence[list[Segment]], blocks: Iterator[Block | Lost], tick: Tick
    ) -> Iterator[UnitRows]:
        batches = Batches(self._runner, self._shape[0], tick, self.timings)
        begun: deque[tuple[list[Segment], UnitFeatures]] = deque()
        for unit in work:
            features = UnitFeatures(sum(len(segment.inputs) for segment in unit), self._dim)
            begun.append((unit, features))
            for segment in unit:
                for x in self._inputs(segment, blocks, tick):
                    batches.add(x, features)
                    if begun[0][1].complete and begun[0][1] is not features:
                        yield rows_of_unit(*begun.popleft())
            batches.flush(features)
        batches.drain()
        while begun:
            yield rows_of_unit(*begun.popleft())

    def _pieces(self, segment: Segment) -> Iterator[Iterator[Block | Lost]]:
        """Yield the frames of one segment, in pieces that can be decoded at once."""
        video = self.videos[segment.video]
        numbers = np.unique(segment.inputs)
        parts = pieces(video.index, numbers, self._extraction.pixels.decoder)
        clip_of = segment.clip_of_frame()
        return (self._decode(video, frames, clip_of) for frames in parts)

    def _decode(
        self, video: Video, numbers: NDArray[np.int64], clip_of: Mapping[int, Interval]
    ) -> Iterator[Block | Lost]:
        """Yield frames of one video, prepared."""
        reader = decoding(self._extraction.pixels.decoder)
        if reader is decode:  # it also decodes frames that are not asked for
            reader = partial(decode, tally=partial(self.timings.count, "frames_decoded"))
        frames = decode_all(video.path, video.index, numbers, self._extraction.pixels.mode, reader)
        blocks = (
            decoded
            if isinstance(decoded, Lost)
            else Block(
                decoded[0], self._prepare(decoded[1], video, [*map(clip_of.get, decoded[0])])
            )
            for decoded in self._gathered(frames)
        )
        while turn := self._in_turn(blocks):
            yield from turn

    def _in_turn(self, blocks: Iterator[Block | Lost]) -> list[Block | Lost]:
        """Return the next blocks, none at the end."""
        with self._runner.turns:
            return list(islice(blocks, BLOCKS_A_TURN[self._device.type]))

    def _gathered(
        self, frames: Iterator[tuple[int, Picture | Tensor] | Lost]
    ) -> Iterator[tuple[list[int], Picture | Tensor] | Lost]:
        """Yield the numbers and the pixels of some frames of one size at once."""
        numbers: list[int] = []
        pictures: list[Picture | Tensor] = []
        since = time.perf_counter()
        for frame in chain(frames, [None]):  # the end
            if isinstance(frame, tuple):
                number, picture = frame
                most = max(1, min(BLOCK_FRAMES[self._device.type], BLOCK_BYTES // picture.nbytes))
                full = len(numbers) >= most or (pictures and picture.shape != pictures[0].shape)
            if pictures and (not isinstance(frame, tuple) or full):
                self.timings.add("decode", since)
                yield numbers, _stacked(pictures)
                numbers, pictures = [], []
                since = time.perf_counter()
            if isinstance(frame, Lost):
                yield frame
            elif frame is not None:
                numbers.append(number)
                pictures.append(picture)

    @torch.inference_mode()
    def _prepare(
        self, pictures: Picture | Tensor, video: Video, clips: Sequence[Interval | None]
    ) -> Tensor:
        """Return frames as the backbone takes them; `clips` has the clip of each, for views."""
        since = time.perf_counter()
        with self._uploads.beside():
            prepared = self._views_of(pictures, video, clips)
        if self._device.type == "cpu":
            prepared = self._blocks.take(prepared.shape).copy_(prepared)
        self.timings.add("preprocess", since)
        self.timings.count("frames_used", len(prepared))
        return prepared

    def _views_of(
        self, pictures: Picture | Tensor, video: Video, clips: Sequence[Interval | None]
    ) -> Tensor:
        prepared = partial(
            prepare,
            index=video.index,
            size=self._extraction.size,
            fit=self._extraction.fit,
            resample=self._extraction.resample,
            mean=self._statistics.mean,
            std=self._statistics.std,
            channels=self._shape[1],
            device=self._device,
        )
        view = self._extraction.view
        if view is None:
            return prepared(pictures)
        parts, first = [], 0
        for clip, frames in groupby(clips):
            last = first + len(list(frames))
            assert clip is not None  # noqa: S101 - units of views are made with `apart`
            change = view.change(video.content, *clip)
            parts.append(prepared(pictures[first:last], change=change))
            first = last
        return torch.cat(parts)

    def _inputs(
        self, segment: Segment, blocks: Iterator[Block | Lost], tick: Tick
    ) -> Iterator[Tensor | str]:
        """Yield the backbone's inputs of one segment, or why one is lost.

        Frames are kept as long as they are needed.
        """
        frames: dict[int, Tensor | str] = {}
        for window in segment.inputs.tolist():
            while window[-1] not in frames:
                frames |= self._next(blocks, tick)
            yield self._joined([frames[number] for number in window])
            for number in [number for number in frames if number < window[0]]:
                del frames[number]

    def _joined(self, window: list[Tensor | str]) -> Tensor | str:
        """Return the frames of a step as one input, or why one is lost."""
        lost = next((frame for frame in window if isinstance(frame, str)), None)
        if lost is not None or not self._extraction.window:
            return lost or window[0]
        frames: list[Tensor] = window  # type: ignore[assignment]
        joined = torch.stack(frames, dim=1)
        self._uploads.keep_until_read(frames)
        return joined

    def _next(self, blocks: Iterator[Block | Lost], tick: Tick) -> dict[int, Tensor | str]:
        """Return the next frames of a segment, or why they are lost."""
        since = time.perf_counter()
        block = next(blocks)
        self.timings.add(FRAMES_WAITED, since)
        if isinstance(block, Lost):
            return dict.fromkeys(block.frames, block.reason)
        tick(0, len(block.numbers))
        return dict(zip(block.numbers, block.frames, strict=True))


def rows_of_unit(unit: list[Segment], computed: UnitFeatures) -> UnitRows:
    """Return the rows of a unit, in which inputs may come more than once."""
    sizes = np.cumsum([0, *(len(segment.inputs) for segment in unit)])
    rows = np.concatenate(
        [segment.rows + offset for segment, offset in zip(unit, sizes.tolist(), strict=False)]
    )
    failed = {
        row: computed.failed[number]
        for row, number in enumerate(rows.tolist())
        if number in computed.failed
    }
    each_once = np.array_equal(rows, np.arange(len(computed.features)))
    return UnitRows(computed.features if each_once else computed.features[rows], failed)


def _stacked(pictures: list[Picture | Tensor]) -> Picture | Tensor:
    if isinstance(pictures[0], Tensor):  # on a GPU that decoded it
        return torch.stack(pictures)  # type: ignore[arg-type]
    # A copy of a huge picture fills memory.
    return pictures[0][None] if len(pictures) == 1 else np.stack(pictures)


def too_large(size: int, device: torch.device) -> str:
    """Return what is said where memory runs out."""
    smaller = (
        f"start again with --batch-size {size // 2}"
        if size > 1
        else "give a smaller --size, or --device cpu"
    )
    return (
        f"{device} ran out of memory with batches of {size}; {smaller}. Finished units are kept, "
        "and go with batches of the same size only; see --allow-mixed-numerics."
    )
