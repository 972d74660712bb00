"""In what two stores differ, or a store and what a build is to make. Pure, no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featstore.keys import ClipKey, differences, feature_key
from featstore.reading.store import Store

Moments = tuple[tuple[float, ...], tuple[float, ...]]
Keys = Sequence[ClipKey]


@dataclass(frozen=True, slots=True)
class Subject:
    """What decides a store's key.

    Attributes
    ----------
    name : str
    features : mapping
        The feature configuration.
    classes : tuple of str
    subjects_known : bool
    clips : sequence of ClipKey
    moments : (mean, std) or None
        Of the pixels, as values; None where they are not measured yet.
    """

    name: str
    features: Mapping[str, Any]
    classes: tuple[str, ...]
    subjects_known: bool
    clips: Keys
    moments: Moments | None


def of_store(store: Store, name: str) -> Subject:
    """Return what decides the key of a store."""
    statistics = store.attributes["statistics"]
    return Subject(
        name,
        store.attributes["features"],
        store.classes,
        store.subjects_known,
        store.clip_keys(),
        (tuple(statistics["mean"]), tuple(statistics["std"])),
    )


def changes(old: Subject, new: Subject) -> list[str]:
    """Return every field in which two differ, one line each; none where they are equal."""
    lines = differences(old.features, new.features)
    lines += _classes(old.classes, new.classes)
    if old.subjects_known != new.subjects_known:
        lines.append(f"subjects known: {old.subjects_known} -> {new.subjects_known}")
    lines += _clips(old.clips, new.clips)
    if old.moments and new.moments and old.moments != new.moments:
        lines.append(f"mean and std: {_moments(old.moments)} -> {_moments(new.moments)}")
    return lines


def shared(old: Subject, new: Subject) -> set[int]:
    """Return the positions of the clips of `new` whose features `old` holds, by feature key."""
    if old.moments is None or new.moments is None:
        return set()
    held = {feature_key(old.features, *old.moments, clip) for clip in old.clips}
    return {
        number
        for number, clip in enumerate(new.clips)
        if feature_key(new.features, *new.moments, clip) in held
    }


def _classes(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    added, removed = [c for c in new if c not in old], [c for c in old if c not in new]
    if added:
        yield f"classes added: {_some(added)}"
    if removed:
        yield f"classes removed: {_some(removed)}"
    if not added and not removed and tuple(old) != tuple(new):
        yield "order of the classes"


def _clips(old: Keys, new: Keys) -> Iterator[str]:
    """Yield what became of the clips, matched by clip id and then by place."""
    pairs, gone, come = _matched(old, new, lambda clip: clip.clip_id)
    moved, gone, come = _matched(gone, come, lambda clip: clip[1:5])
    pairs += moved
    if come:
        yield f"clips added: {_some([clip.clip_id for clip in come])}"
    if gone:
        yield f"clips removed: {_some([clip.clip_id for clip in gone])}"
    for field in ClipKey._fields:
        changed = [(a, b) for a, b in pairs if getattr(a, field) != getattr(b, field)]
        if changed:
            before, after = changed[0]
            value = f"{getattr(before, field)} -> {getattr(after, field)}"
            what = "content of the video" if field == "video" else field
            yield f"{what}: {len(changed)} clips, such as {before.clip_id}: {value}"
    if list(old) != list(new) and sorted(old) == sorted(new):
        yield "order of the clips"


def _matched(
    old: Keys, new: Keys, by: Callable[[ClipKey], Any]
) -> tuple[list[tuple[ClipKey, ClipKey]], list[ClipKey], list[ClipKey]]:
    """Return pairs of clips with equal `by`, and what is left of both."""
    places: dict[Any, list[ClipKey]] = defaultdict(list)
    for clip in reversed(new):
        places[by(clip)].append(clip)
    pairs, gone = [], []
    for clip in old:
        if places[by(clip)]:
            pairs.append((clip, places[by(clip)].pop()))
        else:
            gone.append(clip)
    left = {id(clip) for clips in places.values() for clip in clips}
    return pairs, gone, [clip for clip in new if id(clip) in left]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{len(names)} ({shown}{', ...' if len(names) > 3 else ''})"


def _moments(moments: Moments) -> str:
    return "; ".join(", ".join(f"{value:.6g}" for value in values) for values in moments)


def between(old: Store, new: Store) -> Iterator[str]:
    """Yield in which fields two stores differ, and how many clips they share."""
    before, after = (of_store(store, str(store.path)) for store in (old, new))
    lines = changes(before, after)
    yield from lines or ["nothing: both have the same key"]
    same = shared(before, after)
    yield (
        f"same features: {len(same)} of {len(after.clips)} clips "
        f"({int(new.row_size[sorted(same)].sum())} of {int(new.row_size.sum())} steps)"
    )
