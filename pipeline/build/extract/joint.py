"""Features of several backbones from one decode."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from featstore.errors import InputError
from pipeline.build.extract.batching import Batches, UnitFeatures
from pipeline.build.extract.extractor import (
    BLOCKS_WAITING,
    Block,
    Extractor,
    Interval,
    UnitRows,
    rows_of_unit,
    too_large,
)
from pipeline.build.plan.steps import Segment
from pipeline.system.read_ahead import read_ahead
from pipeline.types import Tick
from pipeline.video.decode import Lost
from pipeline.video.pixels import Picture
from pipeline.video.videos import Video


class JointExtractor(Extractor):
    """Decodes once for several extractors, which prepare frames and run backbones themselves.

    Parameters
    ----------
    members : sequence of Extractor
        With the same videos and device; by frame, or with the same windows.
    """

    def __init__(self, members: Sequence[Extractor]) -> None:
        lead = members[0]
        self.members, self.videos, self.timings = members, lead.videos, lead.timings
        self._extraction, self._device, self._shape = lead._extraction, lead._device, lead._shape
        self._runner = lead._runner
        for member in members[1:]:
            member._runner.turns = lead._runner.turns  # all share the processors

    def units_together(self, work: Sequence[list[Segment]], tick: Tick) -> Iterator[list[UnitRows]]:
        """Yield the rows of every unit, in order: those of each member.

        Parameters and errors are those of `Extractor.units`.
        """
        waiting = BLOCKS_WAITING[self._device.type]
        streams = chain.from_iterable(self._pieces(segment) for unit in work for segment in unit)
        try:
            with ExitStack() as stack:
                for member in self.members:
                    stack.enter_context(member._runner.open())
                blocks = stack.enter_context(
                    read_ahead(streams, threads=self._threads(work), most=waiting)
                )
                yield from self._computed_together(work, blocks, tick)
        except torch.OutOfMemoryError:
            raise InputError(too_large(self._shape[0], self._device)) from None

    def _computed_together(
        self, work: Sequence[list[Segment]], blocks: Iterator[Block | Lost], tick: Tick
    ) -> Iterator[list[UnitRows]]:
        batches = [
            Batches(member._runner, member._shape[0], _quiet if number else tick, member.timings)
            for number, member in enumerate(self.members)
        ]
        begun: deque[tuple[list[Segment], list[UnitFeatures]]] = deque()
        for unit in work:
            count = sum(len(segment.inputs) for segment in unit)
            features = [UnitFeatures(count, member._dim) for member in self.members]
            begun.append((unit, features))
            for segment in unit:
                for x in self._inputs(segment, blocks, tick):
                    for number, (batch, own) in enumerate(zip(batches, features, strict=True)):
                        batch.add(x if isinstance(x, str) else x[number], own)
                    first = begun[0]
                    if first[1] is not features and all(own.complete for own in first[1]):
                        yield [rows_of_unit(unit_begun, own) for unit_begun, own in _each(*first)]
                        begun.popleft()
            for batch, own in zip(batches, features, strict=True):
                batch.flush(own)
        for batch in batches:
            batch.drain()
        while begun:
            yield [rows_of_unit(unit_begun, own) for unit_begun, own in _each(*begun.popleft())]

    def _prepare(
        self, pictures: Picture | Tensor, video: Video, clips: Sequence[Interval | None]
    ) -> Any:
        """Return, for each frame, what every member takes."""
        prepared = [member._prepare(pictures, video, clips) for member in self.members]
        return list(zip(*prepared, strict=True))

    def _joined(self, window: list[Any]) -> Any:
        """Return the frames of a step as an input for each member, or why one is lost."""
        lost = next((frame for frame in window if isinstance(frame, str)), None)
        if lost is not None:
            return lost
        return [
            member._joined([frame[number] for frame in window])
            for number, member in enumerate(self.members)
        ]


def _each(
    unit: list[Segment], features: list[UnitFeatures]
) -> Iterator[tuple[list[Segment], UnitFeatures]]:
    return ((unit, own) for own in features)


def _quiet(inputs: int, frames: int) -> None:
    """Count nothing: the first member counts for all."""
