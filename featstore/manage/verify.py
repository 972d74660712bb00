"""Compare every byte of a store with its seal, and report damage by clip and video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import CorruptStoreError
from featstore.format.opening import open_container
from featstore.reading.store import Store

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Damage to one part of a store.

    Attributes
    ----------
    name : str
        The file, or the part of the file.
    what : str
        The damage.
    clips, videos : list of str
        The affected clips and videos; empty for other parts, or if the names are damaged too.
    foreign : bool
        Whether it is an extra file; the store is complete without it.
    """

    name: str
    what: str
    clips: list[str]
    videos: list[str]
    foreign: bool = False

    def __str__(self) -> str:
        if not self.clips:
            return f"{self.name} {self.what}"
        return (
            f"{self.name} {self.what}: {_some('clip', self.clips)} of {_some('video', self.videos)}"
        )


def verify(location: Path | str) -> Iterator[Finding]:
    """Compare every byte of a store with its seal, and the arrays with the schema.

    Yields
    ------
    Finding
        One part that disagrees.

    Raises
    ------
    StoreNotFoundError
        If there is no store.
    CorruptStoreError
        If the root metadata are damaged, so nothing can be compared.
    """
    container = open_container(location)
    damages = list(container.damages())
    store: Store | None = None
    try:
        store = Store(container)
    except CorruptStoreError as error:
        if all(damage.foreign for damage in damages):
            yield Finding("the store", f"cannot be opened ({error})", [], [])
    for damage in damages:
        clips, videos = [], []
        if store is not None and damage.chunk is not None:
            rows = container.chunk_shape[0]
            first = damage.chunk * rows
            concerned = list(store.layout.clips_of(first, min(first + rows, store.layout.steps)))
            clips = store.clip_ids[concerned].tolist()
            videos = list(dict.fromkeys(store.videos[concerned].tolist()))
        yield Finding(damage.name, damage.what, clips, videos, damage.foreign)


def _some(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    if len(names) > SHOWN:
        return f"{len(names)} {what}s ({shown}, ...)"
    return f"{what} {shown}" if len(names) == 1 else f"{what}s {shown}"
