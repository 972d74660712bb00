"""Why a build would make another store, and what of it need not be computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from featstore.errors import CorruptStoreError
from featstore.keys import differences
from featstore.manage.catalogue import entries
from featstore.manage.diff import Subject, changes, of_store
from featstore.reading.store import open_store
from pipeline.build.extract.statistics import Statistics, known_statistics
from pipeline.build.plan.build_plan import BuildPlan
from pipeline.build.reuse import Copies, criteria_of, find_copies
from pipeline.video.cache import Cache


def most_similar(plan: BuildPlan) -> Path | None:
    """Return the store of the same folder that differs in the fewest fields; None without any."""
    configuration = {**plan.configuration, "data": plan.dataset.title}

    def distance(attributes: dict[str, Any]) -> int:
        return len(
            differences({**attributes["features"], "data": attributes["title"]}, configuration)
        )

    candidates = [
        (distance(entry.attributes), entry.path)
        for entry in entries(plan.options.store)
        if entry.key != plan.key
    ]
    return min(candidates)[1] if candidates else None


def of_build(plan: BuildPlan, statistics: Statistics | None) -> Subject:
    """Return what decides the key of the store that a build is to make."""
    return Subject(
        "this build",
        plan.configuration,
        plan.dataset.classes,
        plan.dataset.subjects_known,
        plan.clip_keys(),
        None if statistics is None else (statistics.mean, statistics.std),
    )


class Unlike(NamedTuple):
    """The store that a build was compared with, and every field in which they differ."""

    path: Path
    fields: list[str]


def unlike(plan: BuildPlan, path: Path | None, cache: Cache) -> Unlike | None:
    """Compare a build with a store, by default with the most similar one; None without any.

    Raises
    ------
    CorruptStoreError
        If the store cannot be opened.
    """
    path = path or most_similar(plan)
    if path is None:
        return None
    other = of_store(open_store(path), path.name)
    return Unlike(
        path, changes(other, of_build(plan, known_statistics(plan.training_pixels, cache)))
    )


def differs_from(plan: BuildPlan, path: Path | None, cache: Cache) -> Iterator[str]:
    """Yield in which fields a build differs from a store, by default from the most similar one."""
    try:
        other = unlike(plan, path, cache)
    except CorruptStoreError as error:
        yield str(error)
        return
    if other:
        yield f"unlike {other.path.name}:"
        for line in other.fields:
            yield f"  {line}"


@dataclass(frozen=True, slots=True)
class Work:
    """How much a build would copy, and how much it would compute.

    Attributes
    ----------
    copies : Copies or None
        None where mean and std are not measured yet, so that no row can be looked up.
    clips, steps : int
        To be computed.
    """

    copies: Copies | None
    clips: int
    steps: int

    def lines(self) -> Iterator[str]:
        """Yield this for people."""
        if self.copies is None:
            yield "mean and std of these clips are not measured yet, so no row can be copied"
        else:
            yield from self.copies.lines()
        yield f"computed: {self.clips} clips ({self.steps} steps)"


def work(plan: BuildPlan, cache: Cache, numerics: dict[str, Any]) -> Work:
    """Return how much a build would copy, from where, and how much it would compute.

    Parameters
    ----------
    plan : BuildPlan
    cache : Cache
    numerics : dict
        What would be computed with.
    """
    inputs, _ = plan.inputs()
    statistics = known_statistics(plan.training_pixels, cache)
    copies = None
    if statistics is not None:
        criteria = criteria_of(plan, statistics, numerics)
        copies = find_copies(plan.options.store, criteria, [each[:, 0] for each in inputs])
    copied = copies.found if copies else {}
    steps = [len(each) for number, each in enumerate(inputs) if number not in copied]
    return Work(copies, len(steps), sum(steps))
