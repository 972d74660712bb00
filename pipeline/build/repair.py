"""Repair a sealed store: keep intact units, and compute the others again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featstore.errors import CorruptStoreError, InputError, StoreNotFoundError
from featstore.exchange.export import copy_chunk
from featstore.format import schema
from featstore.format.container import Container
from featstore.format.contents import Contents
from featstore.format.opening import open_container
from featstore.format.shuffle import chunks_of
from featstore.keys import differences
from featstore.reading.store import open_store
from featstore.writing.writer import StoreWriter

# Attributes that must match for a chunk to be reused.
SAME = ("key", "features", "statistics", "steps", "dim")


@dataclass(frozen=True, slots=True)
class Damaged:
    """A sealed store, and the parts that do not match its seal.

    Attributes
    ----------
    container : Container
    names : list of str
        Damaged files or parts of the file.
    chunks : frozenset of int
        Damaged chunks of features.
    """

    container: Container
    names: list[str]
    chunks: frozenset[int]

    def adopt(
        self, writer: StoreWriter, contents: Contents, *, mixed: bool, log: Callable[[str], None]
    ) -> None:
        """Copy every intact unit into the writer.

        Raises
        ------
        InputError
            If the units come from other software or hardware, and `mixed` is false.
        """
        old, new = self.container.attributes, contents.attributes
        shape = (contents.layout.chunk_rows, contents.layout.dim)
        if any(old[name] != new[name] for name in SAME) or self.container.chunk_shape != shape:
            log(f"{self.container.location} has other inputs: computing everything again")
            return
        changed = differences(old["numerics"], new["numerics"])
        earlier = old.get("mixed_numerics", [])
        if changed and not mixed:
            raise InputError(
                f"{self.container.location} has other numerics ({'; '.join(changed)}), so the last "
                "bits of newly computed units may differ; pass --allow-mixed-numerics to repair "
                "it, or remove it and build it again."
            )
        if changed or earlier:
            writer.mix_numerics(old["numerics"], [*earlier, *changed])
        taken = 0
        for unit in writer.missing:
            if unit not in self.chunks:
                with suppress(CorruptStoreError):  # the file is unreadable
                    failed = self._failed(contents, unit)
                    copy_chunk(self.container, writer, unit, contents.codec, failed)
                    taken += 1
        log(f"keeping {taken} of {len(contents.layout.units())} units, which are intact")

    def _failed(self, contents: Contents, unit: int) -> dict[int, str]:
        """Return the failed clips of a unit, and the reasons."""
        reasons = self.container.attributes.get("failed", {})
        ids = contents.columns["clip_id"]
        clips = contents.layout.clips_of(*contents.layout.units()[unit]) if reasons else ()
        return {clip: reasons[ids[clip]] for clip in clips if ids[clip] in reasons}


def find_failed(path: Path) -> Damaged | None:
    """Return a sealed store with the units of its failed clips; None without failed clips.

    Raises
    ------
    FeatstoreError
        If the store cannot be opened.
    """
    store = open_store(path)
    failed = np.flatnonzero(store.status != schema.STATUS_OK)
    if not len(failed):
        return None
    return Damaged(
        store.container,
        store.clip_ids[failed].tolist(),
        frozenset(chunks_of(store.layout, failed)),
    )


def find_damage(path: Path, log: Callable[[str], None]) -> Damaged | None:
    """Compare a store with its seal; None if nothing can be kept.

    Parameters
    ----------
    path : Path
    log : callable
        Takes one line per damage.
    """
    try:
        container = open_container(path)
    except StoreNotFoundError:
        return None
    except CorruptStoreError as error:
        log(f"{error} Nothing can be kept: computing everything again.")
        return None
    damages = list(container.damages())
    for damage in damages:
        log(f"{damage.name} {damage.what}")
    chunks = frozenset(damage.chunk for damage in damages if damage.chunk is not None)
    return Damaged(container, [damage.name for damage in damages], chunks)
