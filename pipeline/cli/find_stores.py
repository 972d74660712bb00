"""The stores that ``--store`` and the flags of build name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featstore.manage.catalogue import sibling
from pipeline.build.plan.request import build_options, options_of_split
from pipeline.cli.terminal import say


def _find_splits(
    stores: tuple[str, ...], folder: Path, given: dict[str, Any], numbers: list[int]
) -> dict[int | None, list[Path | str]]:
    """Return the stores of every split, or of none in particular."""
    if not numbers:
        return {None: find_stores(stores, folder, given)}
    if any(value is not None for value in given.values()):
        return {
            number: find_stores(stores, folder, options_of_split(given, number))
            for number in numbers
        }
    ones = find_stores(stores, folder, given)
    return {number: [sibling(one, number) for one in ones] for number in numbers}


def find_stores(stores: tuple[str, ...], folder: Path, given: dict[str, Any]) -> list[Path | str]:
    """Return every store that --store names, or the one that the flags of build name."""
    from featstore.errors import InputError

    if len(stores) > 1 and any(value is not None for value in given.values()):
        raise InputError(
            f"--store is given {len(stores)} times, and flags of build name one store; give "
            "every store with --store."
        )
    return [_find(store, folder, given) for store in stores or (None,)]


def _find(store: str | None, folder: Path, given: dict[str, Any]) -> Path | str:
    """Return the store that --store or the flags of build name."""
    from featstore.errors import InputError, StoreNotFoundError
    from featstore.format.container import suffix_of
    from featstore.manage.catalogue import find
    from pipeline.build.plan.build_plan import cache_of, plan_build

    if store and store.strip() and Path(store).is_dir() and not suffix_of(Path(store)):
        say(f"--store {store} is a folder of stores; name folders with --stores.", err=True)
        folder, store = Path(store), None
    if all(value is None for value in given.values()):
        return find(folder, store)
    if store is not None:
        raise InputError(
            f"--store {store} names a store, and the flags of build name one too; give one of the "
            "two."
        )
    options = build_options(given, store=folder)
    cache = cache_of(folder)
    try:
        plan = plan_build(options, cache, say)
    finally:
        cache.close()
    if plan.existing is None:
        raise StoreNotFoundError(
            f"No store in {folder} was built with these flags (its key would begin with "
            f"{plan.key[:12]}); run `featstore build` with them first."
        )
    return plan.existing
