"""List the stores of a folder, and find them by key, name or path. Reads only JSON."""

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
    """Yield the sealed stores of a folder, sorted by name; skip everything else."""
    for path in _named(root):
        with suppress(FeatstoreError):
            yield Entry(path, read_attributes(path))


def unreadable(root: Path) -> Iterator[str]:
    """Yield the errors of folders that are named like stores but cannot be opened."""
    for path in _named(root):
        try:
            read_attributes(path)
        except FeatstoreError as error:
            yield str(error)


def store_path(root: Path, slug: str, key: str, suffix: str) -> Path:
    """Return the path of the store with this key, whether it exists or not."""
    end = f"-{key[:12]}{suffix}"
    return next((path for path in _named(root) if path.name.endswith(end)), root / f"{slug}{end}")


def is_built(path: Path | str, key: str) -> bool:
    """Tell whether a path or URL holds the sealed store with this key.

    Raises
    ------
    InputError
        If something else is there.
    """
    try:
        return bool(read_attributes(path)["key"] == key)
    except StoreNotFoundError:
        if isinstance(path, Path) and os.path.lexists(path):
            raise InputError(
                f"{path} exists but is not a store; remove it and run this again."
            ) from None
        return False


def find(root: Path, query: str | None = None) -> Path | str:
    """Return the path of one store.

    Parameters
    ----------
    root : Path
        The folder of stores.
    query : str, optional
        A path, a URL, or the beginning of a key or of a store's name; by default the only store,
        or the one that was built last.

    Raises
    ------
    StoreNotFoundError
        If no store matches.
        InputError
        If several stores match. If one store exists in several formats, Zarr wins.
    """
    if query is not None and not query.strip():
        raise InputError("The name of the store is empty; omit it or pass a path or a key.")
    if is_remote(query):
        return str(query)
    if query is not None and Path(query).exists():
        return Path(query)
    stores = list(entries(root))
    if query is None:
        return _default(root, stores)
    fit = [e for e in stores if len(query) >= MIN_PREFIX and e.key.startswith(query)]
    fit = fit or [entry for entry in stores if entry.path.name.startswith(query)]
    if not fit:
        raise StoreNotFoundError(
            f"No store in {root} has the path, name or key {query!r} (pass at least {MIN_PREFIX} "
            f"digits of a key); {_listing(stores)}"
        )
    if len({entry.key for entry in fit}) > 1:
        raise InputError(
            f"{query!r} matches {len(fit)} stores in {root}; pass a longer key: "
            + ", ".join(entry.path.name for entry in fit)
        )
    return min(fit, key=lambda entry: SUFFIXES.index(suffix_of(entry.path) or ZARR_SUFFIX)).path


def remember_last(root: Path, store: Path | str) -> None:
    """Record the store that was built last, as the default of later commands."""
    name = store.name if isinstance(store, Path) else without_credentials(store)
    with suppress(OSError), replacing(root / LAST) as temporary:  # the folder may be read-only
        temporary.write_text(name, "utf-8")


def _named(root: Path) -> list[Path]:
    """Return the paths that are named like stores; a leading dot marks unfinished ones."""
    paths = root.iterdir() if root.is_dir() else ()
    return sorted(p for p in paths if suffix_of(p) and not p.name.startswith("."))


def _default(root: Path, stores: list[Entry]) -> Path | str:
    last = root / LAST
    name = last.read_text("utf-8", "replace") if last.is_file() else ""
    if is_remote(name):  # writers of this folder must not choose what is downloaded
        raise InputError(
            f"The last build in {root} went to {name}; name that store with --store {name}, or "
            f"another one: {_listing(stores)}"
        )
    if len(stores) == 1:
        return stores[0].path
    for entry in stores:
        if entry.path.name == name:
            return entry.path
    if not stores:
        raise StoreNotFoundError(f"There is no store in {root}; run `featstore build` first.")
    raise InputError(f"Several stores are in {root}; name one with --store: {_listing(stores)}")


def _listing(stores: list[Entry]) -> str:
    if not stores:
        return "there are none; run `featstore build` first."
    return "there are: " + ", ".join(entry.path.name for entry in stores)


def sibling(path: Path | str, number: int) -> Path | str:
    """Return the store with the same features and data as another store, but another split.

    Parameters
    ----------
    path : Path or str
        The other store; its title names a split or a fold.
    number : int

    Raises
    ------
    InputError
        If its title names no split, or several stores match, as after a change of annotations.
    StoreNotFoundError
        If there is no such store in its folder.
    """
    from featstore.format.opening import read_attributes
    from featstore.manage.catalogue import entries

    attributes = read_attributes(path)
    title = attributes["title"]
    if not (match := OF_SPLIT.search(title)):
        raise InputError(
            f"{path} ({title}) has no numbered split; omit --splits, or pass the flags of build."
        )
    if int(match[2]) == number:
        return path
    sibling_title = f"{title[: match.start(2)]}{number}{title[match.end(2) :]}"
    fit = [
        entry
        for entry in entries(Path(path).parent)
        if entry.attributes["title"] == sibling_title
        and entry.attributes["features"] == attributes["features"]
    ]
    if not fit:
        raise StoreNotFoundError(
            f"No store in {Path(path).parent} is {sibling_title!r} with the features of "
            f"{Path(path).name}; run `featstore build` for {match[1]} {number} first."
        )
    if len({entry.key for entry in fit}) > 1:  # titles do not cover annotations
        raise InputError(
            f"{len(fit)} stores in {Path(path).parent} are {sibling_title!r} with the features of "
            f"{Path(path).name}: {', '.join(entry.path.name for entry in fit)}; pass the flags of "
            "build instead of --store, or remove the outdated ones with `featstore rm`."
        )
    return fit[0].path
