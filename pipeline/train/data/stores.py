"""Training on several stores at once: which they are, and what head reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore.reading.fused import FusedStore, fuse
from featstore.reading.store import Store, open_store

if TYPE_CHECKING:
    pass


def open_stores(
    paths: Sequence[Path | str], *, allow_missing: bool = False, check: bool = False
) -> Store:
    """Open one store, or several as one.

    Parameters
    ----------
    paths : sequence of Path or str
    allow_missing : bool
        As in `featstore.fuse`.
    check : bool
        Compare features with their checksums when they are first read, as `featstore.open`.

    Raises
    ------
    StoreNotFoundError, SchemaError, CorruptStoreError, InputError
        As `featstore.open` and `featstore.fuse`.
    """
    stores = [open_store(path, check=check) for path in paths]
    return stores[0] if len(stores) == 1 else fuse(stores, allow_missing=allow_missing)


def missing_clips(store: Store) -> list[str]:
    """Say how many clips each of several stores lacks; nothing for one store."""
    missing = store.missing if isinstance(store, FusedStore) else ()
    return [f"{line}: left out." for line in missing]


def named_stores(store: Store) -> dict[str, Any]:
    """Name the stores that were fused, as the files of a run do; nothing for one store."""
    if len(store.stores) == 1:
        return {}
    return {"stores": [{"title": own.title, "key": own.key} for own in store.stores]}


def moments(store: Store) -> dict[str, Any] | None:
    """Return mean and std that the pixels behind a store were normalised by, where it says so."""
    statistics = store.attributes.get("statistics")
    return statistics and {name: list(statistics[name]) for name in ("mean", "std")}
