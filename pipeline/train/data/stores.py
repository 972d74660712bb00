"""Training on several stores at once: which they are, and what head reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore.reading.fused import FusedStore, fuse
from featstore.reading.store import Store, open_store

if TYPE_CHECKING:
    from models.heads import Head
    from pipeline.train.recipes.load import Recipe


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


def make_head(store: Store, recipe: Recipe) -> Head:
    """Make the head that a recipe asks for; with ``data.fusion: logits``, one for each store.

    Parameters
    ----------
    store : Store
    recipe : Recipe
    """
    from models.heads import build_head
    from models.late_fusion import LateFusion

    options = recipe.head.model_dump(exclude={"num_classes"})
    classes = len(store.classes)
    if recipe.data.fusion != "logits" or len(store.stores) == 1:
        return build_head(features=store.dim, classes=classes, **options)
    sizes = [own.dim for own in store.stores]
    return LateFusion([build_head(features=n, classes=classes, **options) for n in sizes], sizes)


def missing_clips(store: Store) -> list[str]:
    """Say how many clips each of several stores lacks; nothing for one store."""
    missing = store.missing if isinstance(store, FusedStore) else ()
    return [f"{line}: left out." for line in missing]


def named_stores(store: Store) -> dict[str, Any]:
    """Name the stores that were fused, as the files of a run do; nothing for one store."""
    if len(store.stores) == 1:
        return {}
    return {"stores": [{"title": own.title, "key": own.key} for own in store.stores]}
