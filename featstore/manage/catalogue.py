"""The stores below one folder: listed and found by key, name or path. Reads JSON alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from featstore.errors import FeatstoreError, InputError, StoreNotFoundError
from featstore.format.container import SUFFIXES, ZARR_SUFFIX, suffix_of
from featstore.format.files import is_remote, replacing
from featstore.format.opening import read_attributes
from featstore.manage.titles import OF_SPLIT
from featstore.urls import without_credentials

DEFAULT_STORE_ROOT = Path("features")

LAST = ".last"
MIN_PREFIX = 6


class Entry(NamedTuple):
    """A sealed store and its root attributes."""

    path: Path
    attributes: dict[str, Any]

    @property
    def key(self) -> str:
        """The store key, 64 hexadecimal digits."""
        return str(self.attributes["key"])


def entries(root: Path) -> Iterator[Entry]:
    """Yield the sealed stores of a folder by name; anything else is passed over."""
    for path in _named(root):
        with suppress(FeatstoreError):
            yield Entry(path, read_attributes(path))


def unreadable(root: Path) -> Iterator[str]:
    """Yield why folders that are named like stores cannot be opened."""
    for path in _named(root):
        try:
            read_attributes(path)
        except FeatstoreError as error:
            yield str(error)


def store_path(root: Path, slug: str, key: str, suffix: str) -> Path:
    """Return where the store of this key lies, or would lie: the key decides, not the name."""
    end = f"-{key[:12]}{suffix}"
    return next((path for path in _named(root) if path.name.endswith(end)), root / f"{slug}{end}")


def is_built(path: Path | str, key: str) -> bool:
    """Tell whether the sealed store of this key lies at a path or URL.

    Raises
    ------
    InputError
        If something else does.
    """
    try:
        return bool(read_attributes(path)["key"] == key)
    except StoreNotFoundError:
        if isinstance(path, Path) and os.path.lexists(path):
            raise InputError(
                f"{path} is in the way and is not a store; remove it and run this again."
            ) from None
        return False


def find(root: Path, wanted: str | None = None) -> Path | str:
    """Find one store.

    Parameters
    ----------
    root : Path
        The folder of stores.
    wanted : str, optional
        A path, a URL, the beginning of a key or of a store's name; by default the only store, or
        of several the one built last.

    Raises
    ------
    StoreNotFoundError
        If there is none.
    InputError
        If several fit. Of one store in several formats, Zarr is taken.
    """
    if wanted is not None and not wanted.strip():
        raise InputError("The name of the store is empty; leave it out or give a path or a key.")
    if is_remote(wanted):
        return str(wanted)
    if wanted is not None and Path(wanted).exists():
        return Path(wanted)
    found = list(entries(root))
    if wanted is None:
        return _default(root, found)
    fit = [e for e in found if len(wanted) >= MIN_PREFIX and e.key.startswith(wanted)]
    fit = fit or [entry for entry in found if entry.path.name.startswith(wanted)]
    if not fit:
        raise StoreNotFoundError(
            f"No store has the path, name or key {wanted!r} in {root} (of a key, give at least "
            f"{MIN_PREFIX} digits); {_listing(found)}"
        )
    if len({entry.key for entry in fit}) > 1:
        raise InputError(
            f"{wanted!r} fits {len(fit)} stores in {root}; name one by a longer key: "
            + ", ".join(entry.path.name for entry in fit)
        )
    return min(fit, key=lambda entry: SUFFIXES.index(suffix_of(entry.path) or ZARR_SUFFIX)).path


def remember_last(root: Path, store: Path | str) -> None:
    """Note the store that a build ended with, for commands that name none."""
    name = store.name if isinstance(store, Path) else without_credentials(store)
    with suppress(OSError), replacing(root / LAST) as temporary:  # the folder may be read-only
        temporary.write_text(name, "utf-8")


def _named(root: Path) -> list[Path]:
    """Return what is called like a store; names that begin with a dot are not finished."""
    paths = root.iterdir() if root.is_dir() else ()
    return sorted(p for p in paths if suffix_of(p) and not p.name.startswith("."))


def _default(root: Path, found: list[Entry]) -> Path | str:
    last = root / LAST
    name = last.read_text("utf-8", "replace") if last.is_file() else ""
    if is_remote(name):  # whoever may write here must not choose what is fetched
        raise InputError(
            f"The last build in {root} went to {name}; name that store with --store {name}, or "
            f"another one: {_listing(found)}"
        )
    if len(found) == 1:
        return found[0].path
    for entry in found:
        if entry.path.name == name:
            return entry.path
    if not found:
        raise StoreNotFoundError(f"There is no store in {root}; run `featstore build` first.")
    raise InputError(f"Several stores are in {root}; name one with --store: {_listing(found)}")


def _listing(found: list[Entry]) -> str:
    if not found:
        return "there are none; run `featstore build` first."
    return "there are: " + ", ".join(entry.path.name for entry in found)


def sibling(path: Path | str, number: int) -> Path | str:
    """Find the store with the same features as another one, of another split of the same data.

    Parameters
    ----------
    path : Path or str
        The other one; its title names a split or a fold.
    number : int

    Raises
    ------
    InputError
        If its title names no split, or several stores fit, as after a change of annotations.
    StoreNotFoundError
        If there is no such store in its folder.
    """
    from featstore.format.opening import read_attributes
    from featstore.manage.catalogue import entries

    own = read_attributes(path)
    title = own["title"]
    if not (found := OF_SPLIT.search(title)):
        raise InputError(
            f"{path} ({title}) is of no numbered split; leave --splits out, or give the flags of "
            "build."
        )
    if int(found[2]) == number:
        return path
    wanted = f"{title[: found.start(2)]}{number}{title[found.end(2) :]}"
    fit = [
        entry
        for entry in entries(Path(path).parent)
        if entry.attributes["title"] == wanted and entry.attributes["features"] == own["features"]
    ]
    if not fit:
        raise StoreNotFoundError(
            f"No store in {Path(path).parent} is {wanted!r} with the features of "
            f"{Path(path).name}; run `featstore build` for {found[1]} {number} first."
        )
    if len({entry.key for entry in fit}) > 1:  # annotations are in no title
        raise InputError(
            f"{len(fit)} stores in {Path(path).parent} are {wanted!r} with the features of "
            f"{Path(path).name}: {', '.join(entry.path.name for entry in fit)}; give the flags of "
            "build instead of --store, or take away the outdated ones with `featstore rm`."
        )
    return fit[0].path
