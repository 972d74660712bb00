"""Find and remove what killed or superseded builds left next to stores.

The name of a temporary file contains the store's key, and a build writes it under the lock of that
key. So only the holder of the lock may remove it. The empty lock files stay: another process may
have opened one without locking it yet, and after a removal two processes could hold the "same"
lock.
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
from featstore.writing.staging import BUILDING, PACKING, SUPERSEDED, UNITS

REMOVED = ".removed"
REASONS = {
    BUILDING: "an interrupted build; the same command would resume it",
    UNITS: "an interrupted build; the same command would resume it",
    PACKING: "a file that an interrupted build was packing",
    SUPERSEDED: "replaced by a newer build of the same store",
    REMOVED: "an interrupted removal",
}
PROVENANCE = "an incomplete build.json"
BUSY = "a build of it is running"
ONLY_COPY = "the store is missing, and this may be its only copy; rename it to restore the store"
WHOLE = "a complete store without its final name; run the same build again to rename it"

_SUFFIX = "|".join(map(re.escape, SUFFIXES))
_KIND = "|".join(map(re.escape, REASONS))
_LEFTOVER = re.compile(rf"\.(?P<name>.+(?:{_SUFFIX}))(?P<kind>{_KIND})")
_PROVENANCE = re.compile(rf"\.(?P<name>.+?)(?:{_SUFFIX})?\.build\.json(?:{TEMPORARY}|\.tmp)")
_KEY = re.compile(rf".*-([0-9a-f]{{12}})(?:{_SUFFIX})?")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that an interrupted build or removal left in a folder of stores.

    Attributes
    ----------
    path : Path
    key : str
        The first 12 digits of the store's key; empty if the name has no key.
    reason : str
        Description of its origin.
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
    """Return what killed or superseded builds left in a folder of stores; change nothing.

    Parameters
    ----------
    root : Path
        The folder of stores.
    key : str, optional
        Only of stores with these first 12 digits of the key.
    """
    if not root.is_dir():
        return []
    items = (_leftover(path) for path in sorted(root.iterdir()))
    return [item for item in items if item and key in (None, item.key)]


def sweep(root: Path, *, dry_run: bool = False) -> Iterator[Leftover]:
    """Remove what killed or superseded builds left, and nothing else.

    Parameters
    ----------
    root : Path
        The folder of stores.
    dry_run : bool
        Do not remove anything.

    Yields
    ------
    Leftover
        Removed, unless `kept` says why not, such as a running build.
    """
    items = leftovers(root)
    for key in dict.fromkeys(item.key for item in items):
        same_key = [item for item in items if item.key == key]
        try:
            if dry_run or all(item.kept for item in same_key):
                busy = is_held(root, key)
                yield from (_keep(item, BUSY) if busy else item for item in same_key)
                continue
            with lock_of(root, key):
                # List them again: the previous holder of the lock may have changed them.
                yield from (_remove(item) for item in leftovers(root, key))
        except BusyError:
            yield from (_keep(item, BUSY) for item in same_key)
        except InputError as error:
            yield from (_keep(item, str(error)) for item in same_key)
        except OSError as error:  # another user's lock file
            yield from (_keep(item, f"its lock: {error.strerror}") for item in same_key)


def key_of(name: str) -> str:
    """Return the 12 digits of the key at the end of a store's name, or an empty string.

    Examples
    --------
    >>> key_of("lips-0123456789ab.zarr"), key_of("copy.zarr")
    ('0123456789ab', '')
    """
    match = _KEY.fullmatch(name)
    return match[1] if match else ""


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; skip files that vanish."""
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
    """Return why a leftover of a missing store must stay; empty if it may be removed."""
    if kind == SUPERSEDED:  # killed between the two renames that replace a store
        return ONLY_COPY
    try:
        return WHOLE if kind in (BUILDING, PACKING) and read_attributes(path) else ""
    except (FeatstoreError, OSError):
        return ""


def _keep(leftover: Leftover, why: str) -> Leftover:
    return replace(leftover, kept=leftover.kept or why)


def _remove(leftover: Leftover) -> Leftover:
    """Remove a leftover if possible, and return it; with the reason if that fails."""
    if leftover.kept:
        return leftover
    try:
        delete(leftover.path)
    except OSError as error:
        return _keep(leftover, f"cannot be removed: {error.strerror}")
    return leftover


def lock_of(root: Path, key: str) -> AbstractContextManager[None]:
    """Return the lock of a key; without a key no lock is needed, because builds always name one."""
    return writer_lock(root, key) if key else nullcontext()
