"""Several stores of the same clips, by several backbones, splits or views, with one decode."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from featstore.keys import digest
from featstore.manage.catalogue import remember_last
from featstore.writing.locks import writer_lock
from featstore.writing.staging import finish, write_unit
from pipeline.build.build import extract_alone, keep_provenance
from pipeline.build.executors import LocalExecutor
from pipeline.build.extract.joint import JointExtractor
from pipeline.build.plan.build_plan import BuildPlan
from pipeline.build.plan.steps import segments
from pipeline.build.reuse import DEPENDS
from pipeline.build.store_build import StoreBuild
from pipeline.build.units import UnitWork, Written
from pipeline.system.progress import Progress
from pipeline.types import Log
from pipeline.video.cache import Cache


def without_copies(plans: Sequence[BuildPlan]) -> list[BuildPlan]:
    """Return the plans that cannot copy their rows from a store of an earlier plan.

    Splits with a fixed mean and std have equal features: one is computed, the others copy it.
    """
    first: dict[str, BuildPlan] = {}
    for plan in plans:
        fixed = not plan.options.normalise.measured
        first.setdefault(digest(plan.configuration) if fixed else plan.key, plan)
    return list(first.values())


def group_by_decode(plans: Sequence[BuildPlan]) -> list[list[BuildPlan]]:
    """Group plans with stores that can be built with one decode, in order."""
    groups: list[list[BuildPlan]] = []
    for plan in plans:
        for group in groups:
            if share_decode([group[0], plan]):
                group.append(plan)
                break
        else:
            groups.append([plan])
    return groups


def share_decode(plans: Sequence[BuildPlan]) -> bool:
    """Tell whether stores can be built with one decode.

    They need the same frames of the same clips, and all by frame or all by the same windows.
    """
    first = plans[0]
    return all(
        plan.pixels == first.pixels
        and _intervals(plan) == _intervals(first)
        and plan.extraction.window == first.extraction.window
        and (not plan.options.takes_windows or plan.options.hop == first.options.hop)
        and plan.options.device == first.options.device
        for plan in plans
    )


def _intervals(plan: BuildPlan) -> list[tuple[object, ...]]:
    """Return what decides the frames of each clip, whatever its part or its label."""
    return [
        (plan.videos[clip.video].path, clip.start, clip.stop, clip.shown, clip.lost)
        for clip in plan.clips
    ]


def build_together(plans: Sequence[BuildPlan], cache: Cache, log: Log) -> list[dict[str, float]]:
    """Build stores with one decode; each has the bytes that it has when it is built alone.

    Parameters
    ----------
    plans : sequence of BuildPlan
        Of the same clips; `share_decode` holds, and no store is there.
    cache : Cache
    log : callable

    Returns
    -------
    list of dict of str to float
        Seconds by stage of each store.

    Raises
    ------
    BusyError
        If another process is building one of the stores.
    InputError
        If weights do not fit, a frame does not decode, or the disk is too small.
    """
    with ExitStack() as stack:
        for plan in sorted(plans, key=lambda plan: plan.key):
            stack.enter_context(writer_lock(plan.options.store, plan.key))
        began = time.perf_counter()
        builds = []
        for plan in plans:
            if isinstance(plan.path, Path):
                finish(plan.path)
            pixels = [other.training_pixels for other in plans]
            builds.append(StoreBuild(plan, None, cache, log, also=pixels))
            stack.enter_context(builds[-1].kept())
            builds[-1].find_works()
        joint = [build for build in builds if _joins(build, builds)]
        if len(joint) > 1:
            _extract(joint, log)
        for build in builds:
            if build not in joint or len(joint) < 2:
                extract_alone(build, log)
        results = []
        for build in builds:
            seconds, facts = build.seal()
            seconds = {"index": build.plan.seconds, **seconds}
            seconds["total"] = build.plan.seconds + time.perf_counter() - began
            keep_provenance(build.plan, seconds, facts)
            results.append(seconds)
        remember_last(plans[0].options.store, plans[-1].path)
        return results


def _joins(build: StoreBuild, builds: Sequence[StoreBuild]) -> bool:
    """Tell whether a store can be computed in the units of the others.

    Rows that are copied leave little to decode. Where bits depend on the place in a batch, batches
    have to be those of the store's own units.
    """
    widest = max(other.layout.chunk_rows for other in builds)
    same_segments = _apart([build]) == _apart(builds)
    same_batches = not build.numerics.get(DEPENDS) or (
        build.layout.chunk_rows == widest and same_segments
    )
    return same_batches and not any(work.copies for work in build.works)


def _extract(builds: Sequence[StoreBuild], log: Log) -> None:
    """Decode once, and write every missing unit of every store.

    Units have a power of two of rows, so those of every store lie in those of the store with the
    most rows in a unit.
    """
    lead = max(builds, key=lambda build: build.layout.chunk_rows)
    clips, layout = lead.plan.clips, lead.layout
    missing = [{work.number: work for work in build.works} for build in builds]
    ranges = [
        (first, last)
        for first, last in layout.units()
        if any(
            _units(build, first, last) & works.keys()
            for build, works in zip(builds, missing, strict=True)
        )
    ]
    apart = _apart(builds)
    todo = [
        segments(clips, lead.inputs, layout, first, last, apart=apart) for first, last in ranges
    ]
    executors = [build.executor for build in builds]
    extractors = [each.extractor for each in executors if isinstance(each, LocalExecutor)]
    extractor = JointExtractor(extractors)
    log(f"one decode for {len(builds)} stores: {', '.join(build.plan.slug for build in builds)}")
    with Progress("extracting", len(clips), "clips", log) as progress:
        done = layout.steps - sum(last - first for first, last in ranges)
        finished = 0

        def tick(inputs: int, frames: int) -> None:
            nonlocal done, finished
            done += inputs
            now = min(len(clips), len(clips) * done // max(1, layout.steps))
            progress.advance(now - finished, frames)
            finished = now

        tick(0, 0)
        computed = extractor.units_together(todo, tick)
        for (first, last), unit, rows in zip(ranges, todo, computed, strict=True):
            for build, works, own in zip(builds, missing, rows, strict=True):
                for number in sorted(_units(build, first, last) & works.keys()):
                    begin, end = build.layout.units()[number]
                    inside = slice(begin - first, end - first)
                    failed = {
                        row - inside.start: reason
                        for row, reason in own.failed.items()
                        if inside.start <= row < inside.stop
                    }
                    _write(build, works[number], own.rows[inside], failed)
            tick(last - first - sum(len(segment.inputs) for segment in unit), 0)
    for build, each in zip(builds, extractors, strict=True):
        build.executor.facts = each.facts()


def _apart(builds: Sequence[StoreBuild]) -> bool:
    """Tell whether overlapping clips need segments of their own; see `segments`."""
    return any(build.plan.extraction.view is not None for build in builds)


def _units(build: StoreBuild, first: int, last: int) -> set[int]:
    """Return the units of a store within rows `first` to `last`."""
    rows = build.layout.chunk_rows
    return set(range(first // rows, -(-last // rows)))


def _write(build: StoreBuild, work: UnitWork, rows: np.ndarray, failed: dict[int, str]) -> None:
    contents, files = build.contents, build.writer.files
    commit = write_unit(
        files, work.number, np.ascontiguousarray(rows), build.layout.chunk_rows, contents.codec
    )
    build.commit(work, Written(work.number, commit, failed))
