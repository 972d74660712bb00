"""Copy rows from other stores with the same feature keys instead of extracting them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import CorruptStoreError
from featstore.format import schema
from featstore.format.layout import Layout
from featstore.keys import ClipKey, differences, feature_key, with_values
from featstore.manage.catalogue import Entry, entries
from featstore.reading.store import Store, open_store

if TYPE_CHECKING:
    from pipeline.build.extract.statistics import Statistics
    from pipeline.build.plan.build_plan import BuildPlan


# In the numerics, where the probe of `pipeline.build.extract.extractor` says so
DEPENDS = "depends_on_place"


@dataclass(frozen=True, slots=True)
class CopyCriteria:
    """The criteria for copying rows.

    Attributes
    ----------
    key : str
        The key of the store to build.
    features : mapping
        Its feature configuration.
    mean, std : sequence of float
        Its statistics, by value.
    clips : sequence of ClipKey
    numerics : mapping
        The numerics of this build.
    mixed : bool
        Also copy rows with other numerics.
    """

    key: str
    features: Mapping[str, Any]
    mean: Sequence[float]
    std: Sequence[float]
    clips: Sequence[ClipKey]
    numerics: Mapping[str, Any]
    mixed: bool


@dataclass(frozen=True, slots=True)
class Copy:
    """Rows of one unit to copy from another store.

    Attributes
    ----------
    begin, end : int
        Rows of the unit.
    store : Store
    clip : int
        Position of the clip in that store.
    skip : int
        Rows of the clip before these.
    """

    begin: int
    end: int
    store: Store
    clip: int
    skip: int

    def copy_into(self, rows: NDArray[np.float32]) -> None:
        """Copy the rows and compare them with their checksums."""
        features = self.store[self.clip]
        rows[self.begin : self.end] = features[self.skip : self.skip + self.end - self.begin]


@dataclass(frozen=True, slots=True)
class Copies:
    """The clips with rows in other stores.

    Attributes
    ----------
    found : dict of int to (Store, int)
        Maps a clip to the store with its rows, and its position there.
    refused : list of str
        Why rows of a store with the same configuration are not copied.
    """

    found: dict[int, tuple[Store, int]]
    refused: list[str]

    def changed(self, numerics: Mapping[str, Any]) -> list[str]:
        """Return the differences between the numerics of the copied rows and these."""
        stores = {id(store): store for store, _ in self.found.values()}.values()
        lines = [line for store in stores for line in numerics_changed(store.attributes, numerics)]
        return list(dict.fromkeys(lines))

    def lines(self) -> Iterator[str]:
        """Yield log lines about the copies."""
        for store, clips, steps in self.by_store():
            yield f"copied: {clips} clips ({steps} steps) from {Path(store.path).name}"
        yield from self.refused

    def by_store(self) -> Iterator[tuple[Store, int, int]]:
        """Yield each store with the number of clips and steps copied from it."""
        counted: dict[int, list[int]] = {}
        stores = {id(store): store for store, _ in self.found.values()}
        for store, clip in self.found.values():
            counted.setdefault(id(store), []).append(int(store.row_size[clip]))
        for number, sizes in counted.items():
            yield stores[number], len(sizes), sum(sizes)

    def of_rows(self, layout: Layout, first: int, last: int) -> list[Copy]:
        """Return the copies for rows `first` to `last` of the store, in order."""
        copies = []
        for clip in layout.clips_of(first, last):
            if clip in self.found:
                store, position = self.found[clip]
                offset = int(layout.offsets[clip])
                begin, end = max(first, offset), min(last, int(layout.offsets[clip + 1]))
                copies.append(Copy(begin - first, end - first, store, position, begin - offset))
        return copies


def criteria_of(
    plan: BuildPlan, statistics: Statistics, numerics: Mapping[str, Any]
) -> CopyCriteria:
    """Return the criteria of the rows that a build can copy."""
    return CopyCriteria(
        plan.key,
        plan.configuration,
        statistics.mean,
        statistics.std,
        plan.clip_keys(),
        numerics,
        plan.options.allow_mixed_numerics,
    )


def numerics_changed(attributes: Mapping[str, Any], numerics: Mapping[str, Any]) -> list[str]:
    """Return the differences between the numerics of a store's rows and `numerics`.

    If the last bits depend on the position in a batch, rows are never the same.
    """
    changed = differences(attributes["numerics"], numerics)
    changed += attributes.get("mixed_numerics", [])
    if numerics.get(DEPENDS) and not changed:
        changed.append("the backbone's last bits depend on the position in a batch")
    return changed


def find_copies(root: Path, criteria: CopyCriteria, frames: Sequence[NDArray[np.int64]]) -> Copies:
    """Return the clips with features in other stores of a folder, after comparing checksums.

    Parameters
    ----------
    root : Path
        Folder of stores.
    criteria : CopyCriteria
    frames : sequence of ndarray of int64, shape (steps,)
        First frame of every step of every clip.
    """
    values = with_values(criteria.features, criteria.mean, criteria.std)
    numbers_of: dict[str, list[int]] = {}
    for number, clip in enumerate(criteria.clips):
        key = feature_key(criteria.features, criteria.mean, criteria.std, clip)
        numbers_of.setdefault(key, []).append(number)
    copies = Copies({}, [])
    for entry in entries(root):
        if entry.key == criteria.key or _values_of(entry) != values or not numbers_of:
            continue
        store = _open(entry, criteria, copies.refused)
        if store is None:
            continue
        damaged: list[str] = []
        for position, clip in enumerate(store.clip_keys()):
            key = feature_key(criteria.features, criteria.mean, criteria.std, clip)
            numbers = numbers_of.get(key, [])
            if numbers and _usable(store, position, frames[numbers[0]], damaged):
                copies.found.update(dict.fromkeys(numbers, (store, position)))
                del numbers_of[key]
        if damaged:
            copies.refused.append(f"{len(damaged)} clips are not copied: {damaged[0]}")
    return copies


def _usable(store: Store, position: int, frames: NDArray[np.int64], damaged: list[str]) -> bool:
    """Return whether a clip's rows are intact and from these frames; record damage."""
    if store.status[position] != schema.STATUS_OK:
        return False
    try:
        rows = store[position]  # compares its chunks with their checksums
    except CorruptStoreError as error:
        damaged.append(str(error))
        return False
    if not np.isfinite(rows).all():
        damaged.append(f"clip {store.clip_ids[position]} of {store.path} has values that are NaN")
        return False
    return np.array_equal(store.frames(position), frames)


def _open(entry: Entry, criteria: CopyCriteria, refused: list[str]) -> Store | None:
    """Open a store to copy rows from; None if that is refused, with the reason in `refused`."""
    changed = numerics_changed(entry.attributes, criteria.numerics)
    if changed and not criteria.mixed:
        refused.append(
            f"rows of {entry.path.name} are not copied: it has other numerics "
            f"({'; '.join(changed)}), so the last bits may differ; pass --allow-mixed-numerics "
            "to copy them"
        )
        return None
    try:
        return open_store(entry.path, check=True)
    except CorruptStoreError as error:
        refused.append(f"rows of {entry.path.name} are not copied: {error}")
        return None


def _values_of(entry: Entry) -> dict[str, Any]:
    statistics = entry.attributes["statistics"]
    return with_values(entry.attributes["features"], statistics["mean"], statistics["std"])
