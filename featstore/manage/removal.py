"""Removing a store that a user names, whole or damaged."""

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
from featstore.writing.unfinished import SUPERSEDED, temporary


@dataclass(frozen=True, slots=True)
class Target:
    """A store to be removed, which may be damaged.

    Attributes
    ----------
    path : Path
        Absolute.
    key : str
        The store key, or as much of it as is known: 64, 12 or no digits.
    damage : str
        Why it cannot be opened; empty if it can.
    """

    path: Path
    key: str
    damage: str


def find_removable(root: Path, wanted: str) -> Target:
    """Find the store that a user wants removed.

    Parameters
    ----------
    root : Path
        The folder of stores.
    wanted : str
        As for `featstore.manage.catalogue.find`. A store that cannot be opened is found by its
        path or its file name, if a build gave it that name.

    Raises
    ------
    StoreNotFoundError
        If there is none.
    InputError
        If several fit, in several formats perhaps, or it does not look like a store.
    """
    named = root / wanted
    is_name = Path(wanted).name == wanted and suffix_of(wanted) is not None
    if is_name and os.path.lexists(named):
        found: Path | str = named
    else:
        found = find(root, wanted)
        _check_one_format(root, wanted, Path(found))
    path = Path(found).absolute()  # of a link, the link
    if not os.path.lexists(path):
        raise StoreNotFoundError(f"There is no local store at {found}; only those are removed.")
    if path.name.startswith("."):
        raise InputError(f"{path} is no finished store; `featstore gc` removes what builds left.")
    key = key_of(path.name)
    try:
        stated = str(read_attributes(path)["key"])
    except (FeatstoreError, OSError) as error:
        if key and suffix_of(path.name):
            return Target(path, key, str(error))
        raise InputError(
            f"{path} is not removed, for it may be no store: it does not open as one and its name "
            "does not end in a store's key; look at it, and remove it by hand."
        ) from None
    return Target(path, stated if not key or stated.startswith(key) else key, "")


def _check_one_format(root: Path, wanted: str, found: Path) -> None:
    """Refuse a name or key that fits a store in two formats; `find` would choose."""
    if os.path.lexists(wanted):
        return
    end = f"-{key_of(found.name)}"
    beside = [own.name for own in sorted(root.glob(f"[!.]*{end}.*")) if suffix_of(own)]
    fit = [name for name in beside if name.startswith(wanted) or end[1:].startswith(wanted[:12])]
    if end[1:] and len(fit) > 1:
        raise InputError(
            f"{wanted!r} fits {len(fit)} stores in {root}; name the one to remove by its whole "
            f"file name: {', '.join(fit)}"
        )


def remove_store(target: Target, beside: Iterable[Path] = ()) -> None:
    """Remove a store, under the lock of its key.

    It loses its name first, so that nothing opens half of it, and the rest of a removal that is
    killed is a leftover like others.

    Parameters
    ----------
    target : Target
    beside : iterable of Path
        Files that go with it.

    Raises
    ------
    BusyError
        If a process builds it.
    StoreNotFoundError
        If it is gone.
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
            raise StoreNotFoundError(f"{path} is gone; another process removed it.") from None
        for file in beside:
            file.unlink(missing_ok=True)
        delete(removed)


def check_free(target: Target) -> None:
    """Refuse a store that is being built, before a user is asked anything.

    Raises
    ------
    BusyError
    """
    if is_held(target.path.parent, target.key):
        raise BusyError(
            f"{target.path} is being built or repaired by another process; wait for it, then "
            "remove the store."
        )
