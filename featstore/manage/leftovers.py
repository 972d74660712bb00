"""What killed or superseded builds left beside stores, and its removal.

What a build writes under a temporary name is named after its store, and so by the store's key, and
is written under the lock of that key: who holds the lock may remove it, and nobody else. The empty
lock files stay. Another process may have opened one and not locked it yet; were it removed, that
process and the next one would hold two locks of one name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from featstore.errors import BusyError, FeatstoreError, InputError
from featstore.format.container import SUFFIXES
from featstore.format.files import TEMPORARY, delete
from featstore.format.opening import read_attributes
from featstore.writing.locks import is_held, writer_lock
from featstore.writing.unfinished import BUILDING, PACKING, SUPERSEDED, UNITS

REMOVED = ".removed"
REASONS = {
    BUILDING: "a killed build; run again, it would go on from this",
    UNITS: "a killed build; run again, it would go on from this",
    PACKING: "a file that a killed build was packing",
    SUPERSEDED: "replaced by a newer build of the same store",
    REMOVED: "a removal that was cut off",
}
PROVENANCE = "a build.json that was cut off"
BUSY = "a build of it is running"
ONLY_COPY = "the store itself is missing, and this may be its only copy; rename it to have it back"
WHOLE = "a whole store that only lacks its name; the same build gives it that"

_SUFFIX = "|".join(map(re.escape, SUFFIXES))
_KIND = "|".join(map(re.escape, REASONS))
_LEFTOVER = re.compile(rf"\.(?P<name>.+(?:{_SUFFIX}))(?P<kind>{_KIND})")
_PROVENANCE = re.compile(rf"\.(?P<name>.+?)(?:{_SUFFIX})?\.build\.json(?:{TEMPORARY}|\.tmp)")
_KEY = re.compile(rf".*-([0-9a-f]{{12}})(?:{_SUFFIX})?")


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a build or a removal that was cut off left in a folder of stores.

    Attributes
    ----------
    path : Path
    key : str
        The first 12 digits of the store's key; empty where a store's name has none.
    reason : str
        What it is.
    bytes : int
    kept : str
        Why it must stay; empty if it may be removed.
    """

    path: Path
    key: str
    reason: str
    bytes: int
    kept: str = ""


def leftovers(root: Path, key: str | None = None) -> list[Leftover]:
    """Find what killed or superseded builds left in a folder of stores; nothing is changed.

    Parameters
    ----------
    root : Path
        The folder of stores.
    key : str, optional
        Only of stores whose key begins with these 12 digits.
    """
    if not root.is_dir():
        return []
    found = (_leftover(path) for path in sorted(root.iterdir()))
    return [own for own in found if own and key in (None, own.key)]


def sweep(root: Path, *, dry_run: bool = False) -> Iterator[Leftover]:
    """Remove what killed or superseded builds left, and nothing else.

    Parameters
    ----------
    root : Path
        The folder of stores.
    dry_run : bool
        Only say what would be removed.

    Yields
    ------
    Leftover
        Removed, unless `kept` says why not: a build holds the lock of its key, for one.
    """
    found = leftovers(root)
    for key in dict.fromkeys(own.key for own in found):
        own_key = [own for own in found if own.key == key]
        try:
            if dry_run or all(own.kept for own in own_key):
                busy = is_held(root, key)
                yield from (_keep(own, BUSY) if busy else own for own in own_key)
                continue
            with lock_of(root, key):
                # Looked for again: whoever held the lock until now has changed them.
                yield from (_remove(own) for own in leftovers(root, key))
        except BusyError:
            yield from (_keep(own, BUSY) for own in own_key)
        except InputError as error:
            yield from (_keep(own, str(error)) for own in own_key)
        except OSError as error:  # another user's lock file
            yield from (_keep(own, f"its lock: {error.strerror}") for own in own_key)


def key_of(name: str) -> str:
    """Return the 12 digits of the key that a store's name ends in, or nothing.

    Examples
    --------
    >>> key_of("lips-0123456789ab.zarr"), key_of("copy.zarr")
    ('0123456789ab', '')
    """
    match = _KEY.fullmatch(name)
    return match[1] if match else ""


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; what vanishes counts nothing."""
    if path.is_symlink() or not path.is_dir():
        return _bytes(path)
    return sum(_bytes(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)


def _bytes(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.lstat().st_size
    return 0


def _leftover(path: Path) -> Leftover | None:
    if match := _LEFTOVER.fullmatch(path.name):
        key, kind = key_of(match["name"]), match["kind"]
        if not key and kind != REMOVED:  # builds name every store by its key
            return None
        kept = "" if path.with_name(match["name"]).exists() else _precious(path, kind)
        return Leftover(path, key, REASONS[kind], size_of(path), kept)
    match = _PROVENANCE.fullmatch(path.name)
    key = key_of(match["name"]) if match else ""
    return Leftover(path, key, PROVENANCE, size_of(path)) if key else None


def _precious(path: Path, kind: str) -> str:
    """Return why a leftover of a store that is missing must stay, if it must."""
    if kind == SUPERSEDED:  # killed between the two renames that replace a store
        return ONLY_COPY
    try:
        return WHOLE if kind in (BUILDING, PACKING) and read_attributes(path) else ""
    except (FeatstoreError, OSError):
        return ""


def _keep(leftover: Leftover, why: str) -> Leftover:
    return replace(leftover, kept=leftover.kept or why)


def _remove(leftover: Leftover) -> Leftover:
    """Remove a leftover that may be removed; return it, with the reason where that fails."""
    if leftover.kept:
        return leftover
    try:
        delete(leftover.path)
    except OSError as error:
        return _keep(leftover, f"cannot be removed: {error.strerror}")
    return leftover


def lock_of(root: Path, key: str) -> AbstractContextManager[None]:
    """Return the lock of a key; no build makes a store without one in its name."""
    return writer_lock(root, key) if key else nullcontext()
