"""Several stores of the same clips, read as one: views of a scene, or backbones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.format import schema
from featstore.format.rows import Features, Rows
from featstore.keys import digest
from featstore.reading.alignment import (
    aligned,
    listed,
    ranges,
    refuse_disagreement,
    shared_clips,
    usable,
)
from featstore.reading.store import Store
from featstore.reading.stream import Clips

MOMENTS = ("mean", "std")
STEPS = "nearest in time, from the middle of the interval"  # part of the key: how they are joined


def fuse(stores: Sequence[Store], *, allow_missing: bool = False) -> FusedStore:
    """Read several stores of the same clips as one, with their features side by side.

    Clips are joined by their ids and come in the order of the first store, whose steps they have.
    With each step goes that step of every other store which is nearest in time; see
    `featstore.reading.alignment.aligned`. ``docs/fusion.md`` has examples.

    Parameters
    ----------
    stores : sequence of Store
        Two or more: views of the same clips, or the same view by different backbones.
    allow_missing : bool
        Leave out clips that failed, or are not there, in some of the stores only.

    Returns
    -------
    FusedStore

    Raises
    ------
    InputError
        If a store is given twice, stores differ in their class lists or a clip's label, subject,
        split or length, or clips are missing and that is not allowed.
    """
    if len(stores) < 2:
        raise InputError(f"{len(stores)} store cannot be fused; give two or more")
    for number, store in enumerate(stores):
        for earlier in stores[:number]:
            if earlier.key == store.key:
                both = f"{earlier.path} and {store.path}"
                raise InputError(f"{both} are the same store; give it once")
            refuse_disagreement(earlier, store)
    clips, missing = shared_clips(stores)
    if not len(clips[0]):
        raise InputError(
            f"{' and '.join(str(own.path) for own in stores)} have no clip in common: their first "
            f"are {', '.join(str(own.clip_ids[0]) for own in stores)}; clips are joined by their "
            "ids, which a table may state in a column clip_id"
        )
    if not allow_missing and (lines := _missing_lines(stores, missing)):
        raise InputError(
            f"{'; '.join(lines)}; build that again, or leave the clips out with --allow-missing "
            "(in Python: allow_missing=True)"
        )
    return FusedStore(stores, clips, missing)


class FusedStore(Store):
    """Several stores read as one, made by `fuse`; anything that reads a `Store` reads this.

    Features are those of all stores side by side, in their order. All columns are the first
    store's, of the clips that all stores have; a clip that failed in all of them has no steps.

    Attributes
    ----------
    path : str
        The paths of all stores, for messages.
    key : str
        Of the keys of all stores in their order.
    missing : tuple of str
        For every store that lacks clips of another one, a sentence that counts them.
    """

    def __init__(
        self, stores: Sequence[Store], clips: Sequence[Clips], missing: Sequence[Sequence[str]]
    ) -> None:
        self._stores = tuple(stores)
        self.missing = tuple(_missing_lines(stores, missing))
        self.dtype = np.result_type(*(own.dtype for own in stores)).name
        first = stores[0]
        whole = usable(first)[clips[0]]
        own = [positions[whole] for positions in clips]
        index = [ranges(first.offsets[own[0]], first.row_size[own[0]])]
        index += [
            aligned(first, own[0], store, theirs)
            for store, theirs in zip(stores[1:], own[1:], strict=True)
        ]
        columns = {name: first.columns[name] for name in schema.NAME_ARRAYS}
        columns |= {name: first.columns[name][clips[0]] for name in schema.CLIP_COLUMNS}
        columns |= {name: first.columns[name][index[0]] for name in schema.STEP_COLUMNS}
        columns["row_size"] = np.where(whole, columns["row_size"], 0)
        columns["status"] = np.where(whole, schema.STATUS_OK, schema.STATUS_FAILED).astype(np.int8)
        path = " + ".join(str(store.path) for store in stores)
        dim = sum(store.dim for store in stores)
        self._describe(path, _attributes(stores), columns, dim, first.layout.chunk_rows)
        self._index = index

    @property
    def stores(self) -> tuple[Store, ...]:
        """The stores that this one reads."""
        return self._stores

    @cached_property
    def rows(self) -> Rows:
        """The rows of all clips, one after the other."""
        return _FusedRows(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(fuse, self._stores, allow_missing=True), ()


class _FusedRows:
    """Rows of several stores side by side."""

    def __init__(self, store: FusedStore) -> None:
        self._sources = [
            (own.rows, index) for own, index in zip(store.stores, store._index, strict=True)
        ]
        self._offsets, self._dim, self._dtype = store.offsets, store.dim, store.dtype

    def span(self, start: int, stop: int) -> Features:
        """Return a copy of the rows from `start` to `stop`, read-only."""
        low, high = np.searchsorted(self._offsets, (start, stop), "right")
        cuts = [start, *self._offsets[low:high].tolist(), stop]
        found = np.empty((max(0, stop - start), self._dim), self._dtype)
        for first, last in pairwise(cuts):
            if first < last:  # within one clip, whose rows lie close together in every store
                index = np.arange(first, last)[None]
                found[first - start : last - start] = self.take(index)[0]
        found.flags.writeable = False
        return found

    def take(self, index: NDArray[np.int64]) -> Features:
        """Return a copy of rows; each row of `index` is one clip's and ascends."""
        return np.concatenate([rows.take(own[index]) for rows, own in self._sources], axis=-1)

    def windows(self, firsts: NDArray[np.int64], width: int) -> Features:
        """Return a copy of runs of rows."""
        return self.take(firsts[:, None] + np.arange(width))


def _attributes(stores: Sequence[Store]) -> dict[str, Any]:
    """Return what a fused store says about itself."""
    features = {str(n): own.attributes.get("features", {}) for n, own in enumerate(stores, 1)}
    statistics = [own.attributes.get("statistics", {}) for own in stores]
    moments = {name: [v for own in statistics for v in own.get(name, [])] for name in MOMENTS}
    return {
        "key": digest({"fused": [own.key for own in stores], "steps": STEPS}),
        "title": " + ".join(dict.fromkeys(own.title for own in stores)),
        "subjects_known": stores[0].subjects_known,
        "features": {"fused": features},
        "statistics": {"origin": "fused", **moments},
        "untrained": any(own.attributes.get("untrained") for own in stores),
    }


def _missing_lines(stores: Sequence[Store], missing: Sequence[Sequence[str]]) -> list[str]:
    """Count what every store lacks, and name the first."""
    return [
        f"{len(ids)} of {len(ids) + usable(own).sum()} clips failed or are missing in {own.path}, "
        f"such as {listed(ids)}"
        for own, ids in zip(stores, missing, strict=True)
        if ids
    ]
