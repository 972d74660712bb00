"""Read several stores of the same clips as one: views of a scene, or backbones."""

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
    NAMED,
    aligned,
    ranges,
    refuse_disagreement,
    shared_clips,
    usable,
)
from featstore.reading.store import Store
from featstore.text import listed
from featstore.types import Clips

MOMENTS = ("mean", "std")
STEPS = "nearest in time, from the middle of the interval"  # part of the key: how they are joined


def fuse(stores: Sequence[Store], *, allow_missing: bool = False) -> FusedStore:
    """Return one store that concatenates the features of several stores of the same clips.

    Clips are joined by id. Their order and steps are those of the first store. Each step is
    combined with the nearest step in time of every other store; see
    `featstore.reading.alignment.aligned`. ``docs/fusion.md`` has examples.

    Parameters
    ----------
    stores : sequence of Store
        Two or more: views of the same clips, or the same view by different backbones.
    allow_missing : bool
        Skip clips that failed, or are missing, in only some of the stores.

    Returns
    -------
    FusedStore

    Raises
    ------
    InputError
        If a store is passed twice; if stores disagree on classes or a clip's label, subject,
        split or length; or if clips are missing without `allow_missing`.
    """
    if len(stores) < 2:
        raise InputError(f"{len(stores)} store cannot be fused; pass two or more")
    for number, store in enumerate(stores):
        for earlier in stores[:number]:
            if earlier.key == store.key:
                both = f"{earlier.path} and {store.path}"
                raise InputError(f"{both} are the same store; pass it once")
            refuse_disagreement(earlier, store)
    clips, missing = shared_clips(stores)
    if not len(clips[0]):
        raise InputError(
            f"{' and '.join(str(store.path) for store in stores)} have no clip in common: their "
            f"first are {', '.join(str(store.clip_ids[0]) for store in stores)}; clips are joined "
            "by id, which a table may state in a column clip_id"
        )
    if not allow_missing and (lines := _missing_lines(stores, missing)):
        raise InputError(
            f"{'; '.join(lines)}; build that again, or skip the clips with --allow-missing "
            "(in Python: allow_missing=True)"
        )
    return FusedStore(stores, clips, missing)


class FusedStore(Store):
    """Several stores read as one, made by `fuse`; use it like any `Store`.

    Features are concatenated in the order of the stores. All columns are those of the first
    store, for the shared clips; a clip that failed in all stores has no steps.

    Attributes
    ----------
    path : str
        The paths of all stores, for messages.
    key : str
        Derived from the keys of all stores, in order.
    missing : tuple of str
        For every store that lacks clips of another store, a sentence with their number.
    """

    def __init__(
        self, stores: Sequence[Store], clips: Sequence[Clips], missing: Sequence[Sequence[str]]
    ) -> None:
        self._stores = tuple(stores)
        self.missing = tuple(_missing_lines(stores, missing))
        self.dtype = np.result_type(*(store.dtype for store in stores)).name
        first = stores[0]
        whole = usable(first)[clips[0]]
        whole_clips = [positions[whole] for positions in clips]
        index = [ranges(first.offsets[whole_clips[0]], first.row_size[whole_clips[0]])]
        index += [
            aligned(first, whole_clips[0], store, theirs)
            for store, theirs in zip(stores[1:], whole_clips[1:], strict=True)
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
        """The rows of all clips, concatenated."""
        return _FusedRows(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(fuse, self._stores, allow_missing=True), ()


class _FusedRows:
    """Rows of several stores, concatenated along the features."""

    def __init__(self, store: FusedStore) -> None:
        self._sources = [
            (source.rows, index) for source, index in zip(store.stores, store._index, strict=True)
        ]
        self._offsets, self._dim, self._dtype = store.offsets, store.dim, store.dtype

    def span(self, start: int, stop: int) -> Features:
        """Return a copy of the rows from `start` to `stop`, read-only."""
        low, high = np.searchsorted(self._offsets, (start, stop), "right")
        cuts = [start, *self._offsets[low:high].tolist(), stop]
        rows = np.empty((max(0, stop - start), self._dim), self._dtype)
        for first, last in pairwise(cuts):
            if first < last:  # within one clip: its rows are close together in every store
                index = np.arange(first, last)[None]
                rows[first - start : last - start] = self.take(index)[0]
        rows.flags.writeable = False
        return rows

    def take(self, index: NDArray[np.int64]) -> Features:
        """Return a copy of rows; each row of `index` belongs to one clip and ascends."""
        return np.concatenate(
            [rows.take(positions[index]) for rows, positions in self._sources], axis=-1
        )

    def windows(self, firsts: NDArray[np.int64], width: int) -> Features:
        """Return a copy of runs of rows."""
        return self.take(firsts[:, None] + np.arange(width))


def _attributes(stores: Sequence[Store]) -> dict[str, Any]:
    """Return the root attributes of a fused store."""
    features = {str(n): item.attributes.get("features", {}) for n, item in enumerate(stores, 1)}
    statistics = [item.attributes.get("statistics", {}) for item in stores]
    moments = {name: [v for item in statistics for v in item.get(name, [])] for name in MOMENTS}
    return {
        "key": digest({"fused": [item.key for item in stores], "steps": STEPS}),
        "title": " + ".join(dict.fromkeys(item.title for item in stores)),
        "subjects_known": stores[0].subjects_known,
        "features": {"fused": features},
        "statistics": {"origin": "fused", **moments},
        "untrained": any(item.attributes.get("untrained") for item in stores),
    }


def _missing_lines(stores: Sequence[Store], missing: Sequence[Sequence[str]]) -> list[str]:
    """Return one sentence per store that lacks clips: their number and the first ids."""
    return [
        f"{len(ids)} of {len(ids) + usable(store).sum()} clips failed or are missing in "
        f"{store.path}, such as {listed(ids[:NAMED])}"
        for store, ids in zip(stores, missing, strict=True)
        if ids
    ]
