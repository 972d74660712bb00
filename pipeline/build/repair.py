"""Mending a sealed store: what is whole is taken over, the rest is computed again."""

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

# What must be the same for a chunk to be the same.
SAME = ("key", "features", "statistics", "steps", "dim")


@dataclass(frozen=True, slots=True)
class Damaged:
    """A sealed store, and what of it disagrees with its seal.

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
        """Copy every whole unit into the writer.

        Raises
        ------
        InputError
            If they were computed by other software or hardware, and not `mixed`.
        """
        own, new = self.container.attributes, contents.attributes
        shape = (contents.layout.chunk_rows, contents.layout.dim)
        if any(own[name] != new[name] for name in SAME) or self.container.chunk_shape != shape:
            log(f"{self.container.place} was made from something else: everything is computed")
            return
        changed = differences(own["numerics"], new["numerics"])
        earlier = own.get("mixed_numerics", [])
        if changed and not mixed:
            raise InputError(
                f"{self.container.place} was computed otherwise ({'; '.join(changed)}), so the "
                "last bits of what is computed now may differ; give --allow-mixed-numerics to "
                "mend it nevertheless, or remove it and build it anew."
            )
        if changed or earlier:
            writer.mix_numerics(own["numerics"], [*earlier, *changed])
        taken = 0
        for unit in writer.missing:
            if unit not in self.chunks:
                with suppress(CorruptStoreError):  # of a file that cannot be read at all
                    failed = self._failed(contents, unit)
                    copy_chunk(self.container, writer, unit, contents.codec, failed)
                    taken += 1
        log(f"{taken} of {len(contents.layout.units())} units are whole and taken over")

    def _failed(self, contents: Contents, unit: int) -> dict[int, str]:
        """Return the clips of a unit that had failed, and why."""
        known = self.container.attributes.get("failed", {})
        ids = contents.columns["clip_id"]
        clips = contents.layout.clips_of(*contents.layout.units()[unit]) if known else ()
        return {clip: known[ids[clip]] for clip in clips if ids[clip] in known}


def find_failed(path: Path) -> Damaged | None:
    """Return a sealed store with the units that hold failed clips; None where none has failed.

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
    """Compare a store with its seal; None where there is nothing to take over.

    Parameters
    ----------
    path : Path
    log : callable
        Is told each damage.
    """
    try:
        container = open_container(path)
    except StoreNotFoundError:
        return None
    except CorruptStoreError as error:
        log(f"{error} Nothing can be taken over: everything is computed.")
        return None
    found = list(container.damages())
    for damage in found:
        log(f"{damage.name} {damage.what}")
    chunks = frozenset(damage.chunk for damage in found if damage.chunk is not None)
    return Damaged(container, [damage.name for damage in found], chunks)
