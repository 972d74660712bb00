"""The stores that ``--store`` and the flags of build name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featstore.manage.catalogue import sibling
from pipeline.build.plan.request import build_options
from pipeline.cli.splits import flags_of_split
from pipeline.cli.terminal import say


def _find_splits(
    stores: tuple[str, ...], given: dict[str, Any], numbers: list[int]
) -> dict[int | None, list[Path | str]]:
    """Return the stores of every split, or of none in particular."""
    if not numbers:
        return {None: find_stores(stores, given)}
    if any(value is not None for value in given.values()):
        return {number: find_stores(stores, flags_of_split(given, number)) for number in numbers}
    ones = find_stores(stores, given)
    return {number: [sibling(one, number) for one in ones] for number in numbers}


def find_stores(stores: tuple[str, ...], given: dict[str, Any]) -> list[Path | str]:
    """Return every store that --store names, or the one that the flags of build name."""
    from featstore.errors import InputError

    if len(stores) > 1 and any(value is not None for value in given.values()):
        raise InputError(
            f"--store is given {len(stores)} times, and flags of build name one store; give "
            "every store with --store."
        )
    return [_find(store, given) for store in stores or (None,)]


def _find(store: str | None, given: dict[str, Any]) -> Path | str:
    """Return the store that --store or the flags of build name."""
    from featstore.errors import InputError, StoreNotFoundError
    from featstore.format.container import suffix_of
    from featstore.manage.catalogue import DEFAULT_STORE_ROOT, find
    from pipeline.build.plan.build_plan import cache_of, prepare

    named = DEFAULT_STORE_ROOT if store is None else Path(store)
    is_root = store is None or (store.strip() and named.is_dir() and not suffix_of(named))
    if all(value is None for value in given.values()):
        return find(named) if is_root else find(DEFAULT_STORE_ROOT, store)
    if not is_root:
        raise InputError(
            f"--store {store} names one store, and flags of build name another way to find one; "
            "give one of the two, or the folder of stores with --store."
        )
    options = build_options(given, store=named)
    cache = cache_of(named)
    try:
        prepared = prepare(options, cache, say)
    finally:
        cache.close()
    if prepared.existing is None:
        raise StoreNotFoundError(
            f"No store in {named} was built with these flags (its key would begin with "
            f"{prepared.key[:12]}); run `featstore build` with them first."
        )
    return prepared.existing
