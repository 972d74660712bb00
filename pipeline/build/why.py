"""Why a build would make another store, and what of it need not be computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featstore.errors import CorruptStoreError
from featstore.keys import differences
from featstore.manage.catalogue import entries
from featstore.manage.diff import Subject, changes, of_store
from featstore.reading.store import open_store
from pipeline.build.extract.statistics import Statistics, known_statistics
from pipeline.build.plan.build_plan import Prepared
from pipeline.build.plan.steps import clip_inputs
from pipeline.build.reuse import find_copies, wanted_of
from pipeline.video.cache import Cache


def most_similar(prepared: Prepared) -> Path | None:
    """Return the store of the same folder that differs in the fewest fields; None without any."""
    wanted = {**prepared.configuration, "data": prepared.dataset.title}

    def distance(own: dict[str, Any]) -> int:
        return len(differences({**own["features"], "data": own["title"]}, wanted))

    found = [
        (distance(entry.attributes), entry.path)
        for entry in entries(prepared.options.store)
        if entry.key != prepared.key
    ]
    return min(found)[1] if found else None


def of_build(prepared: Prepared, statistics: Statistics | None) -> Subject:
    """Return what decides the key of the store that a build is to make."""
    return Subject(
        "this build",
        prepared.configuration,
        prepared.dataset.classes,
        prepared.dataset.subjects_known,
        prepared.clip_keys(),
        None if statistics is None else (statistics.mean, statistics.std),
    )


def differs_from(prepared: Prepared, path: Path | None, cache: Cache) -> Iterator[str]:
    """Yield in which fields a build differs from a store, by default from the most similar one."""
    path = path or most_similar(prepared)
    if path is None:
        return
    try:
        other = of_store(open_store(path), path.name)
    except CorruptStoreError as error:
        yield str(error)
        return
    yield f"unlike {path.name}:"
    for line in changes(other, of_build(prepared, statistics_now(prepared, cache))):
        yield f"  {line}"


def work(prepared: Prepared, cache: Cache, numerics: dict[str, Any]) -> Iterator[str]:
    """Yield how much a build would copy, from where, and how much it would compute.

    Parameters
    ----------
    prepared : Prepared
    cache : Cache
    numerics : dict
        What would be computed with.
    """
    inputs, _ = clip_inputs(prepared.clips, prepared.videos, prepared.options, prepared.fps)
    steps = [len(own) for own in inputs]
    statistics = statistics_now(prepared, cache)
    if statistics is None:
        yield "mean and std of these training clips are not measured yet, so no row is known"
        found: set[int] = set()
    else:
        wanted = wanted_of(prepared, statistics, numerics)
        copies = find_copies(prepared.options.store, wanted, [own[:, 0] for own in inputs])
        yield from copies.lines()
        found = set(copies.found)
    left = [size for number, size in enumerate(steps) if number not in found]
    yield f"computed: {len(left)} clips ({sum(left)} steps)"


def statistics_now(prepared: Prepared, cache: Cache) -> Statistics | None:
    """Return mean and std if they are known without decoding."""
    return known_statistics(
        prepared.options.normalise,
        prepared.videos,
        prepared.clips,
        mode=prepared.pixels,
        fps=prepared.fps,
        decoder=prepared.options.decoder,
        cache=cache,
    )
