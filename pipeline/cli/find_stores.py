"""The stores that ``--store`` and the flags of build name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featstore.manage.catalogue import sibling
from pipeline.build.plan.request import build_options, options_of_split
from pipeline.cli.terminal import say


def _find_splits(
    stores: tuple[str, ...],
    folder: Path,
    given: dict[str, Any],
    numbers: list[int],
    views: int = 1,
) -> dict[int | None, list[Path | str]]:
    """Return the stores of every split, or of none in particular."""
    if not numbers:
        return {None: find_stores(stores, folder, given, views)}
    if any(value is not None for value in given.values()):
        return {
            number: find_stores(stores, folder, options_of_split(given, number), views)
            for number in numbers
        }
    ones = find_stores(stores, folder, given, views)
    return {number: [sibling(one, number) for one in ones] for number in numbers}


def find_stores(
    stores: tuple[str, ...], folder: Path, given: dict[str, Any], views: int = 1
) -> list[Path | str]:
    """Return every store that --store names, or the one that the flags of build name.

    With several `views`, also the augmented views of the one store.
    """
    from featstore.errors import InputError

    if views != 1 and len(stores) > 1:
        raise InputError(
            f"--store is given {len(stores)} times, and --views {views} takes the views of one "
            "store; name the plain store alone, or leave out --views."
        )
    if len(stores) > 1 and any(value is not None for value in given.values()):
        raise InputError(
            f"--store is given {len(stores)} times, and flags of build name one store; give "
            "every store with --store."
        )
    paths = [_find(store, folder, given) for store in stores or (None,)]
    if views == 1:
        return paths
    from pipeline.train.data.views import view_paths

    return view_paths(paths[0], views)


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
