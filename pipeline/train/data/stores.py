"""Open several stores as one for training, and name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featstore.reading.fused import FusedStore, fuse
from featstore.reading.store import Store, open_store
from pipeline.types import Clips


def open_stores(
    paths: Sequence[Path | str], *, allow_missing: bool = False, check: bool = False
) -> Store:
    """Open one store, or several fused into one.

    Parameters
    ----------
    paths : sequence of Path or str
    allow_missing : bool
        See `featstore.fuse`.
    check : bool
        Compare features with their checksums at the first read; see `featstore.open`.

    Raises
    ------
    StoreNotFoundError, SchemaError, CorruptStoreError, InputError
        See `featstore.open` and `featstore.fuse`.
    """
    stores = [open_store(path, check=check) for path in paths]
    return stores[0] if len(stores) == 1 else fuse(stores, allow_missing=allow_missing)


def missing_clips(store: Store) -> list[str]:
    """Return a sentence on the missing clips of each fused store; empty for one store."""
    missing = store.missing if isinstance(store, FusedStore) else ()
    return [f"{line}: left out." for line in missing]


def named_stores(store: Store) -> dict[str, Any]:
    """Return the fused stores' titles and keys for a run's files; empty for one store."""
    if len(store.stores) == 1:
        return {}
    return {"stores": [{"title": member.title, "key": member.key} for member in store.stores]}


def moments(store: Store) -> dict[str, Any] | None:
    """Return the mean and std that normalised a store's pixels, or None if unknown."""
    statistics = store.attributes.get("statistics")
    return statistics and {name: list(statistics[name]) for name in ("mean", "std")}


def clip_seconds(store: Store, clips: Clips) -> float | None:
    """Return the median length of some clips in seconds; None if the store has no times.

    Parameters
    ----------
    store : Store
    clips : int64 array (n,)
        Positions in the store.
    """
    rates, frames = [], []
    for clip in clips.tolist():
        taken, times = store.frames(clip), store.times(clip)
        frames.append(int(store.stop[clip] - store.start[clip]))
        lasts = float(times[-1] - times[0]) if len(times) > 1 else 0.0
        rates.append(lasts / float(taken[-1] - taken[0]) if lasts > 0 else np.nan)
    seconds = np.array(rates)
    if not np.isfinite(seconds).any():
        return None
    # A clip of one step has no rate: the usual one stands for it.
    seconds[~np.isfinite(seconds)] = np.nanmedian(seconds)
    return round(float(np.median(seconds * frames)), 6)
