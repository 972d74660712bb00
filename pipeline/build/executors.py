"""Where units are computed: in this process, or by workers on Dask."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from featstore.errors import InputError
from featstore.format.contents import Contents
from featstore.keys import differences
from featstore.writing.staging import write_unit
from featstore.writing.writer import StoreWriter
from pipeline.build.extract.statistics import Statistics
from pipeline.build.extract.timings import gather
from pipeline.build.plan.build_plan import BuildPlan
from pipeline.build.units import UnitWork, Written
from pipeline.system.dask_cluster import Cluster
from pipeline.types import Tick


class Executor(Protocol):
    """Computes units and writes their chunks.

    Attributes
    ----------
    dim, places : int
        Length of a feature vector, and the vectors that it is made of.
    seconds : dict of str to float
        By stage.
    facts : dict
        See `Extractor.facts`.
    """

    dim: int
    places: int
    seconds: dict[str, float]
    facts: dict[str, Any]

    def begin(self, statistics: Statistics) -> dict[str, Any]:
        """Take the statistics that pixels are normalised with; return the numerics."""

    def write(
        self,
        works: Sequence[UnitWork],
        writer: StoreWriter,
        contents: Contents,
        tick: Tick,
    ) -> Iterator[Written]:
        """Compute units and write their chunks; yield each when it is written.

        Parameters
        ----------
        works : sequence of UnitWork
        writer : StoreWriter
        contents : Contents
        tick : callable
            Takes the number of newly computed inputs and decoded frames.
        """


class LocalExecutor:
    """Computes in this process, with one device.

    Raises
    ------
    InputError
        If the device or the weights cannot be used.
    """

    def __init__(self, plan: BuildPlan) -> None:
        from pipeline.build.extract.backbone import load_forward

        self._videos = plan.videos
        self._forward = load_forward(plan.extraction)
        self.dim, self.places = self._forward.dim, self._forward.places
        self.seconds: dict[str, float] = {}
        self.facts: dict[str, Any] = {}

    def begin(self, statistics: Statistics) -> dict[str, Any]:
        """Take the statistics that pixels are normalised with; return the numerics."""
        from pipeline.build.extract.extractor import Extractor

        self.extractor = Extractor(self._forward, self._videos, statistics)
        self.seconds = self.extractor.timings.seconds
        return self._forward.numerics | self.extractor.depends_on_place()

    def write(
        self,
        works: Sequence[UnitWork],
        writer: StoreWriter,
        contents: Contents,
        tick: Tick,
    ) -> Iterator[Written]:
        """Compute units in order and write their chunks."""
        layout, codec = contents.layout, contents.codec
        computed = self.extractor.units([work.segments for work in works], tick)
        for work, unit_rows in zip(works, computed, strict=True):
            since = time.perf_counter()
            rows = work.assemble(unit_rows.rows, layout.dim)
            commit = write_unit(writer.files, work.number, rows, layout.chunk_rows, codec)
            self.extractor.timings.add("write", since)
            yield Written(work.number, commit, unit_rows.failed)
        self.facts = self.extractor.facts()


class DaskExecutor:
    """Has workers compute, each with one device; see `pipeline.build.dask_worker`."""

    def __init__(self, plan: BuildPlan, cluster: Cluster) -> None:
        weights, path = plan.weights, plan.weights.path
        if path is not None:
            weights = replace(weights, path=path.absolute())
        self._videos, self._cluster = plan.videos, cluster
        self._allow_mixed = plan.options.allow_mixed_numerics
        self._extraction, self._numerics, self.dim, self.places = cluster.call(
            "pipeline.build.dask_worker:describe", replace(plan.extraction, weights=weights)
        )
        # All load the model now, and whoever computes otherwise is known before the first unit.
        others = cluster.everywhere("pipeline.build.dask_worker:describe", self._extraction)
        if not self._allow_mixed:
            for _, numerics, *_ in others:
                _check_same(differences(self._numerics, numerics))
        self.seconds: dict[str, float] = {}
        self.facts: dict[str, Any] = {}

    def begin(self, statistics: Statistics) -> dict[str, Any]:
        """Take the statistics that pixels are normalised with; return the numerics."""
        self._statistics = statistics
        return dict(self._numerics)

    def write(
        self,
        works: Sequence[UnitWork],
        writer: StoreWriter,
        contents: Contents,
        tick: Tick,
    ) -> Iterator[Written]:
        """Have units computed and their chunks written, in the order in which they are ready."""
        from pipeline.build.dask_worker import Job

        job = Job(
            self._extraction,
            self._statistics,
            *writer.places,
            contents.layout.chunk_rows,
            contents.layout.dim,
            contents.codec,
            self._numerics,
        )
        videos = self._videos
        tasks = (
            (
                job,
                work,
                {segment.video: videos[segment.video].anywhere() for segment in work.segments},
            )
            for work in works
        )
        for number, computed in self._cluster.map("pipeline.build.dask_worker:compute", tasks):
            if computed.changed:
                if not self._allow_mixed:
                    _check_same(computed.changed)
                writer.mix_numerics(self._numerics, computed.changed)
            for stage, value in computed.seconds.items():
                self.seconds[stage] = self.seconds.get(stage, 0.0) + value
            gather(self.facts, computed.facts)
            segments = works[number].segments
            frames = sum(len(np.unique(segment.inputs)) for segment in segments)
            tick(works[number].inputs, frames)
            yield computed.written


def _check_same(changed: list[str]) -> None:
    """Check that all workers have the same numerics.

    Raises
    ------
    InputError
    """
    if changed:
        raise InputError(
            f"A worker has other numerics than the first one ({'; '.join(changed)}), so last bits "
            "may differ; use the same software and hardware on all workers, or pass "
            "--allow-mixed-numerics."
        )
