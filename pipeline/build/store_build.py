"""One store that is being extracted: what it needs, and what was written of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from featstore.format import schema
from featstore.format.contents import Contents
from featstore.format.layout import Layout, default_chunk_rows
from featstore.writing.writer import StoreWriter
from pipeline.build.checks import check_failures, check_space, check_weights
from pipeline.build.executors import DaskExecutor, Executor, LocalExecutor
from pipeline.build.extract.statistics import Statistics, measure
from pipeline.build.plan.build_plan import BuildPlan
from pipeline.build.plan.clips import counts
from pipeline.build.plan.extraction import TrainingPixels
from pipeline.build.plan.steps import columns
from pipeline.build.repair import Damaged
from pipeline.build.reuse import criteria_of, find_copies
from pipeline.build.units import UnitWork, Written, unit_works
from pipeline.types import Log
from pipeline.video.cache import Cache
from pipeline.video.videos import check_unchanged

if TYPE_CHECKING:
    from pipeline.system.dask_cluster import Cluster


class StoreBuild:
    """A store that is being extracted, from its statistics to its seal.

    Parameters
    ----------
    plan : BuildPlan
    damaged : Damaged or None
        What to mend.
    cache : Cache
    log : callable
    cluster : Cluster, optional
    also : sequence of TrainingPixels
        Of stores that are built at the same time; see `measure`.

    Attributes
    ----------
    executor : Executor
    contents : Contents
    writer : StoreWriter
    works : list of UnitWork
        The units that are missing.

    Raises
    ------
    InputError
        If the weights do not fit, a frame does not decode, or the disk is too small.
    """

    works: list[UnitWork]

    def __init__(
        self,
        plan: BuildPlan,
        damaged: Damaged | None,
        cache: Cache,
        log: Log,
        cluster: Cluster | None = None,
        *,
        also: Sequence[TrainingPixels] = (),
    ) -> None:
        since = time.perf_counter()
        self.plan, self._damaged, self._cache, self._log = plan, damaged, cache, log
        self.executor: Executor = (
            LocalExecutor(plan) if cluster is None else DaskExecutor(plan, cluster)
        )
        self.inputs, repeated = plan.inputs()
        check_failures(plan, {})
        check_weights(plan, cache)
        table = columns(
            plan.clips, plan.videos, plan.dataset.classes, self.inputs, plan.pixels.mode
        )
        dim, sizes = self.executor.dim, table["row_size"]
        layout = Layout(sizes, dim, default_chunk_rows(dim, int(sizes.sum())))
        loading = time.perf_counter() - since
        since = time.perf_counter()
        self._statistics = measure(plan.training_pixels, cache, log, cluster, also=also)
        self._seconds = {"load": loading, "statistics": time.perf_counter() - since}

        self.numerics = self.executor.begin(self._statistics)
        attributes = _attributes(plan, self._statistics, repeated)
        attributes |= {"steps": layout.steps, "dim": dim, "numerics": self.numerics}
        attributes |= {"places": self.executor.places} if self.executor.places > 1 else {}
        codec = plan.options.codec if damaged is None else damaged.container.codec
        self.contents = Contents(layout, table, attributes, codec)
        mixed = plan.options.allow_mixed_numerics
        self.writer = StoreWriter(plan.path, self.contents, mixed_numerics=mixed)

    @property
    def layout(self) -> Layout:
        """The rows of clips and units."""
        return self.contents.layout

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Leave finished units for the next try of the same command if the block fails."""
        try:
            yield
        except BaseException:
            writer = self.writer
            writer.forget_lost()
            if writer.done:
                self._log(
                    f"{len(writer.done)} of {len(self.layout.units())} units are finished and "
                    "kept: the same command resumes from them, `featstore gc` removes them"
                )
            else:
                writer.discard()
            raise

    def find_works(self) -> None:
        """Find the missing units, and their rows that other stores hold; say so."""
        plan, writer = self.plan, self.writer
        mixed = plan.options.allow_mixed_numerics
        check_space(plan, self.layout, len(writer.missing))
        if writer.done:
            units = len(self.layout.units())
            self._log(f"resuming after {len(writer.done)} of {units} finished units")
        if self._damaged is not None:
            self._damaged.adopt(writer, self.contents, mixed=mixed, log=self._log)
        criteria = criteria_of(plan, self._statistics, self.numerics)
        copies = find_copies(plan.options.store, criteria, [each[:, 0] for each in self.inputs])
        for line in copies.lines():
            self._log(line)
        if changed := copies.changed(self.numerics):
            writer.mix_numerics(self.numerics, changed)
        missing, apart = writer.missing, plan.extraction.view is not None
        works = unit_works(plan.clips, self.inputs, self.layout, missing, copies, apart=apart)
        self.works = list(works)

    def commit(self, work: UnitWork, written: Written) -> None:
        """Commit a written unit, after comparing its videos with the plan's.

        Raises
        ------
        InputError
            If a video changed, or too many clips failed.
        """
        videos = [self.plan.videos[segment.video] for segment in work.segments]
        check_unchanged(videos, self._cache)
        failed = work.failed_clips(written.failed, self.layout)
        self.writer.commit(written.number, written.commit, failed)
        if failed:
            check_failures(self.plan, self.writer.failed)

    def seal(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Seal the store; return seconds by stage, and facts to remember."""
        since = time.perf_counter()
        self.writer.seal()
        sealing = {"seal": time.perf_counter() - since}
        facts = dict(self.executor.facts)
        if self.plan.options.dtype != "float32":
            facts["float16_error"] = self.writer.float16_error()
        return {**self._seconds, **self.executor.seconds, **sealing}, facts


def _attributes(plan: BuildPlan, statistics: Statistics, repeated: int) -> dict[str, Any]:
    parts = counts(plan.clips, "label")
    return {
        schema.SCHEMA_ATTRIBUTE: schema.VERSION,
        "key": plan.key,
        "title": plan.dataset.title,
        "features": plan.configuration,
        "statistics": statistics.as_json(),
        "subjects_known": plan.dataset.subjects_known,
        "untrained": plan.weights.untrained,
        "clips": {part: sum(labels.values()) for part, labels in parts.items()},
        "repeated_last_frame": repeated,
        **plan.rare,
        "failed": {plan.clips[clip].clip_id: why for clip, why in plan.lost.items()},
    }
