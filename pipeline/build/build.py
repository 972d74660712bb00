"""Stage one: from annotated videos to a sealed store. `build` does what is not done yet."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import InputError
from featstore.manage.catalogue import remember_last
from featstore.manage.provenance import write_provenance
from featstore.writing.locks import writer_lock
from featstore.writing.staging import finish, forget_units
from pipeline.build.plan.build_plan import BuildPlan
from pipeline.build.repair import Damaged, find_damage, find_failed
from pipeline.system.progress import Progress
from pipeline.types import Log
from pipeline.video.cache import Cache

if TYPE_CHECKING:
    from pipeline.build.store_build import StoreBuild
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
            keep_provenance(plan, seconds, facts)
        remember_last(options.store, plan.path)
        return seconds


def keep_provenance(plan: BuildPlan, seconds: dict[str, float], facts: dict[str, Any]) -> None:
    """Write what is known of a build; of a store in a bucket, it stays here."""
    dropped = [clip.clip_id for clip in plan.dropped]
    write_provenance(
        plan.options.store / Path(plan.path).name,
        seconds,
        weights=str(plan.weights),
        dropped=f"{len(plan.dropped)} clips shorter than {plan.min_frames} frames",
        **({"dropped_clips": dropped} if dropped else {}),
        **facts,
    )


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
    # Imported here, because a build that finds its store must not pay for torch and zarr.
    from pipeline.build.store_build import StoreBuild

    build = StoreBuild(plan, damaged, cache, log, cluster)
    with build.kept():
        build.find_works()
        extract_alone(build, log)
        return build.seal()


def extract_alone(build: StoreBuild, log: Log) -> None:
    """Write every unit that is missing: its rows copied where they exist, else computed."""
    layout, clips = build.layout, len(build.plan.clips)
    with Progress("extracting", clips, "clips", log) as progress:
        finished = 0
        rows_done = layout.steps - sum(work.last - work.first for work in build.works)

        def tick(inputs: int, frames: int) -> None:
            # A row that shares its input with another is counted when its unit is written.
            nonlocal finished, rows_done
            rows_done += inputs
            now = clips * rows_done // layout.steps
            progress.advance(now - finished, frames)
            finished = now

        tick(0, 0)
        for work in build.works:
            if not work.segments:
                nothing = np.empty((0, layout.dim), np.float32)
                build.writer.write(work.number, work.assemble(nothing, layout.dim))
                tick(work.last - work.first, 0)
        computed = {work.number: work for work in build.works if work.segments}
        todo = list(computed.values())
        for written in build.executor.write(todo, build.writer, build.contents, tick):
            work = computed[written.number]
            build.commit(work, written)
            tick(work.last - work.first - work.inputs, 0)
