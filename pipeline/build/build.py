"""Stage one: from annotated videos to a sealed store. `build` does what is not done yet."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import InputError
from featstore.format import schema
from featstore.manage.catalogue import remember_last
from featstore.manage.provenance import write_provenance
from featstore.writing.locks import writer_lock
from featstore.writing.staging import finish, forget_units
from pipeline.build.checks import check_failures, check_space, check_weights
from pipeline.build.extract.statistics import measure
from pipeline.build.plan.build_plan import BuildPlan
from pipeline.build.plan.clips import counts
from pipeline.build.plan.steps import columns
from pipeline.build.repair import Damaged, find_damage, find_failed
from pipeline.system.progress import Progress
from pipeline.types import Log
from pipeline.video.cache import Cache
from pipeline.video.videos import check_unchanged

if TYPE_CHECKING:
    from featstore.format.contents import Contents
    from featstore.format.layout import Layout
    from featstore.writing.writer import StoreWriter
    from pipeline.build.executors import Executor
    from pipeline.build.extract.statistics import Statistics
    from pipeline.build.plan.sampling import Frames
    from pipeline.build.reuse import Copies
    from pipeline.build.units import UnitWork
    from pipeline.system.dask_cluster import Cluster


def build(
    plan: BuildPlan, cache: Cache, log: Log, cluster: Cluster | None = None
) -> dict[str, float]:
    """Build the store, finish or mend it, or find that it is there.

    Parameters
    ----------
    plan : BuildPlan
    cache : Cache
    log : callable
    cluster : Cluster, optional
        Whose workers compute; by default this process does.

    Returns
    -------
    dict of str to float
        Seconds by stage; empty where there was nothing to do.

    Raises
    ------
    BusyError
        If another process is building the same store.
    InputError
        If the weights do not fit, a frame does not decode, or the disk is too small.
    """
    options = plan.options
    if not (options.repair or options.retry_failed) and plan.built:
        if not isinstance(plan.path, Path):
            forget_units(plan.path)
        remember_last(options.store, plan.path)
        return {}
    if not os.access(options.store, os.W_OK):
        raise InputError(
            f"--stores {options.store}: the folder cannot be written, and has no such store; give "
            "another one"
        )
    with writer_lock(options.store, plan.key):
        began = time.perf_counter()
        seconds, facts = _make(plan, cache, log, cluster)
        if seconds:
            seconds = {"index": plan.seconds, **seconds}
            seconds["total"] = plan.seconds + time.perf_counter() - began
            dropped = [clip.clip_id for clip in plan.dropped]
            write_provenance(
                # Of a store in a bucket, it stays here.
                options.store / Path(plan.path).name,
                seconds,
                weights=str(plan.weights),
                dropped=f"{len(plan.dropped)} clips shorter than {plan.min_frames} frames",
                **({"dropped_clips": dropped} if dropped else {}),
                **facts,
            )
        remember_last(options.store, plan.path)
        return seconds


def _make(
    plan: BuildPlan, cache: Cache, log: Log, cluster: Cluster | None
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return seconds by stage, none where there was nothing to do, and facts to remember."""
    path = plan.path
    if plan.options.repair and isinstance(path, Path):
        damaged = find_damage(path, log)
        if damaged is not None and not damaged.names:
            log(f"{plan.path} is intact: nothing to repair")
            return {}, {}
        return _extract(plan, damaged, cache, log, cluster)
    if plan.options.retry_failed and isinstance(path, Path) and plan.built:
        holding = find_failed(path)
        if holding is None:
            log(f"no clip of {plan.path} failed: nothing to retry")
            return {}, {}
        log(f"retrying {len(holding.names)} failed clips")
        return _extract(plan, holding, cache, log, cluster)
    if isinstance(path, Path):
        finish(path)
    if plan.built:  # by whoever held the lock before
        return {}, {}
    if plan.existing is not None:
        return _convert(plan, plan.existing, log)
    return _extract(plan, None, cache, log, cluster)


def _convert(
    plan: BuildPlan, existing: Path | str, log: Log
) -> tuple[dict[str, float], dict[str, Any]]:
    """Write a store that is there in another format in the one asked for."""
    from featstore.exchange.export import copy_store, upload
    from featstore.reading.store import open_store

    since = time.perf_counter()
    name = Path(existing).name
    log(f"copying the same features from {name}: nothing to extract")
    path, codec = plan.path, plan.options.codec
    if isinstance(path, Path):
        copy_store(open_store(existing), path, codec)
    else:
        upload(open_store(existing), path, codec)
    return {"convert": time.perf_counter() - since}, {"converted": name}


def _extract(
    plan: BuildPlan,
    damaged: Damaged | None,
    cache: Cache,
    log: Log,
    cluster: Cluster | None,
) -> tuple[dict[str, float], dict[str, Any]]:
    since = time.perf_counter()
    # Imported here, because a build that finds its store must not pay for torch and zarr.
    from featstore.format.contents import Contents
    from featstore.format.layout import Layout, default_chunk_rows
    from featstore.writing.writer import StoreWriter
    from pipeline.build.executors import DaskExecutor, LocalExecutor
    from pipeline.build.units import unit_works

    options = plan.options
    executor = LocalExecutor(plan) if cluster is None else DaskExecutor(plan, cluster)
    inputs, repeated = plan.inputs()
    check_failures(plan, {})
    check_weights(plan, cache)
    table = columns(plan.clips, plan.videos, plan.dataset.classes, inputs, plan.pixels.mode)
    dim = executor.dim
    layout = Layout(table["row_size"], dim, default_chunk_rows(dim, int(table["row_size"].sum())))
    loading = time.perf_counter() - since
    since = time.perf_counter()
    statistics = measure(plan.training_pixels, cache, log, cluster)
    measuring = time.perf_counter() - since

    attributes = _attributes(plan, statistics, repeated)
    attributes |= {"steps": layout.steps, "dim": dim, "numerics": executor.begin(statistics)}
    codec = options.codec if damaged is None else damaged.container.codec
    contents = Contents(layout, table, attributes, codec)
    writer = StoreWriter(plan.path, contents, mixed_numerics=options.allow_mixed_numerics)
    try:
        check_space(plan, layout, len(writer.missing))
        if writer.done:
            log(f"resuming after {len(writer.done)} of {len(layout.units())} finished units")
        if damaged is not None:
            damaged.adopt(writer, contents, mixed=options.allow_mixed_numerics, log=log)
        copies = _copies(plan, statistics, attributes["numerics"], inputs, log)
        if mixed := copies.changed(attributes["numerics"]):
            writer.mix_numerics(attributes["numerics"], mixed)
        works = list(unit_works(plan.clips, inputs, layout, writer.missing, copies))
        _write_units(plan, executor, works, contents, writer, cache, log)
        since = time.perf_counter()
        writer.seal()
    except BaseException:
        _keep_or_discard(writer, layout, log)
        raise
    facts = dict(executor.facts)
    if options.dtype != "float32":
        facts["float16_error"] = writer.float16_error()
    sealing = {"seal": time.perf_counter() - since}
    return {"load": loading, "statistics": measuring, **executor.seconds, **sealing}, facts


def _keep_or_discard(writer: StoreWriter, layout: Layout, log: Log) -> None:
    """Leave finished units for the next try of the same command."""
    writer.forget_lost()
    if not writer.done:
        writer.discard()
        return
    log(
        f"{len(writer.done)} of {len(layout.units())} units are finished and kept: the same "
        "command resumes from them, `featstore gc` removes them"
    )


def _copies(
    plan: BuildPlan,
    statistics: Statistics,
    numerics: dict[str, Any],
    inputs: list[Frames],
    log: Log,
) -> Copies:
    """Find the rows that other stores hold, and say so."""
    from pipeline.build.reuse import criteria_of, find_copies

    criteria = criteria_of(plan, statistics, numerics)
    copies = find_copies(plan.options.store, criteria, [frames[:, 0] for frames in inputs])
    for line in copies.lines():
        log(line)
    return copies


def _write_units(
    plan: BuildPlan,
    executor: Executor,
    works: list[UnitWork],
    contents: Contents,
    writer: StoreWriter,
    cache: Cache,
    log: Log,
) -> None:
    """Write every unit that is missing: its rows copied where they exist, else computed."""
    layout, clips = contents.layout, len(plan.clips)
    with Progress("extracting", clips, "clips", log) as progress:
        finished = 0
        rows_done = layout.steps - sum(work.last - work.first for work in works)

        def tick(inputs: int, frames: int) -> None:
            # A row that shares its input with another is counted when its unit is written.
            nonlocal finished, rows_done
            rows_done += inputs
            now = clips * rows_done // layout.steps
            progress.advance(now - finished, frames)
            finished = now

        tick(0, 0)
        for work in works:
            if not work.segments:
                nothing = np.empty((0, layout.dim), np.float32)
                writer.write(work.number, work.assemble(nothing, layout.dim))
                tick(work.last - work.first, 0)
        computed = {work.number: work for work in works if work.segments}
        todo = list(computed.values())
        for written in executor.write(todo, writer, contents, tick):
            work = computed[written.number]
            check_unchanged([plan.videos[segment.video] for segment in work.segments], cache)
            failed = work.failed_clips(written.failed, layout)
            writer.commit(written.number, written.commit, failed)
            tick(work.last - work.first - work.inputs, 0)
            if failed:
                check_failures(plan, writer.failed)


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
