"""Remove a store that a user names, even if it is damaged."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import BusyError, FeatstoreError, InputError, StoreNotFoundError
from featstore.format.container import suffix_of
from featstore.format.files import delete
from featstore.format.opening import read_attributes
from featstore.manage.catalogue import find
from featstore.manage.leftovers import REMOVED, key_of, lock_of
from featstore.writing.locks import is_held
from featstore.writing.staging import SUPERSEDED, temporary


@dataclass(frozen=True, slots=True)
class Target:
    """A store to remove; it may be damaged.

    Attributes
    ----------
    path : Path
        Absolute.
    key : str
        The known digits of the store key: 64, 12 or none.
    damage : str
        Why it cannot be opened; empty if it can.
    """

    path: Path
    key: str
    damage: str


def find_removable(root: Path, query: str) -> Target:
    """Return the store that a user wants to remove.

    Parameters
    ----------
    root : Path
        The folder of stores.
    query : str
        As for `featstore.manage.catalogue.find`. A store that cannot be opened is found by path
        or file name, if a build chose that name.

    Raises
    ------
    StoreNotFoundError
        If no store matches.
        InputError
        If several stores or formats match, or the path does not look like a store.
    """
    named = root / query
    is_name = Path(query).name == query and suffix_of(query) is not None
    if is_name and os.path.lexists(named):
        match: Path | str = named
    else:
        match = find(root, query)
        _check_one_format(root, query, Path(match))
    path = Path(match).absolute()  # the link itself, not its target
    if not os.path.lexists(path):
        raise StoreNotFoundError(f"There is no local store at {match}; pass the path of one.")
    if path.name.startswith("."):
        raise InputError(f"{path} is not a finished store; remove it with `featstore gc`.")
    key = key_of(path.name)
    try:
        stated = str(read_attributes(path)["key"])
    except (FeatstoreError, OSError) as error:
        if key and suffix_of(path.name):
            return Target(path, key, str(error))
        raise InputError(
            f"{path} may not be a store: it cannot be opened, and its name does not end in a "
            "store's key; inspect it, and remove it by hand."
        ) from None
    return Target(path, stated if not key or stated.startswith(key) else key, "")


def _check_one_format(root: Path, query: str, match: Path) -> None:
    """Refuse a name or key that matches a store in two formats; `find` would choose one."""
    if os.path.lexists(query):
        return
    end = f"-{key_of(match.name)}"
    same_key = [path.name for path in sorted(root.glob(f"[!.]*{end}.*")) if suffix_of(path)]
    fit = [name for name in same_key if name.startswith(query) or end[1:].startswith(query[:12])]
    if end[1:] and len(fit) > 1:
        raise InputError(
            f"{query!r} matches {len(fit)} stores in {root}; pass the full file name of the one "
            f"to remove: {', '.join(fit)}"
        )


def remove_store(target: Target, companions: Iterable[Path] = ()) -> None:
    """Remove a store, under the lock of its key.

    Rename it first, so that nothing opens a partial store. An interrupted removal becomes a
    leftover.

    Parameters
    ----------
    target : Target
    companions : iterable of Path
        Further files to remove with it.

    Raises
    ------
    BusyError
        If a process is building it.
    StoreNotFoundError
        If it no longer exists.
    """
    path = target.path
    removed = temporary(path, REMOVED)
    with lock_of(path.parent, target.key):
        delete(removed)
        # First, so that nothing of a store that was removed on purpose asks to come back.
        delete(temporary(path, SUPERSEDED))
        try:
            path.rename(removed)
        except FileNotFoundError:
            raise StoreNotFoundError(
                f"{path} no longer exists; another process removed it."
            ) from None
        for file in companions:
            file.unlink(missing_ok=True)
        delete(removed)


def check_free(target: Target) -> None:
    """Refuse a store that is being built, before asking the user.

    Raises
    ------
    BusyError
    """
    if is_held(target.path.parent, target.key):
        raise BusyError(
            f"{target.path} is being built or repaired by another process; wait for it, then "
            "remove the store."
        )
