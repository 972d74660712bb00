"""List the differences between two stores, or a store and a planned build. Pure, no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featstore.keys import ClipKey, differences, feature_key, without_normalise
from featstore.reading.store import Store

Moments = tuple[tuple[float, ...], tuple[float, ...]]
Keys = Sequence[ClipKey]


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything that determines a store's key.

    Attributes
    ----------
    name : str
    features : mapping
        The feature configuration.
    classes : tuple of str
    subjects_known : bool
    clips : sequence of ClipKey
    moments : (mean, std) or None
        Of the pixels; None if they are not measured yet.
    """

    name: str
    features: Mapping[str, Any]
    classes: tuple[str, ...]
    subjects_known: bool
    clips: Keys
    moments: Moments | None


def of_store(store: Store, name: str) -> Subject:
    """Return everything that determines the key of a store."""
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
    """Return one line per field that differs; an empty list if the two are equal."""
    lines = _features(old, new)
    lines += _classes(old.classes, new.classes)
    if old.subjects_known != new.subjects_known:
        lines.append(f"subjects known: {old.subjects_known} -> {new.subjects_known}")
    lines += _clips(old.clips, new.clips)
    if old.moments and new.moments and old.moments != new.moments:
        lines.append(f"mean and std: {_moments(old.moments)} -> {_moments(new.moments)}")
    return lines


def _features(old: Subject, new: Subject) -> list[str]:
    """Return the differences of the feature configurations, mean and std by value if known."""
    if old.moments is None or new.moments is None:
        return differences(old.features, new.features)
    lines = differences(without_normalise(old.features), without_normalise(new.features))
    before, after = old.features.get("normalise"), new.features.get("normalise")
    if before != after and old.moments == new.moments:
        lines.append(
            f"origin of the same mean and std: {_origin(before)} -> {_origin(after)}; "
            "the features are the same, the store keys are not"
        )
    return lines


def _origin(normalise: Mapping[str, Any] | None) -> str:
    return "measured" if normalise and "from" in normalise else "fixed"


def shared(old: Subject, new: Subject) -> set[int]:
    """Return the positions of the clips of `new` with features in `old`, by feature key."""
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
    """Yield the differences between clips, matched by clip id and then by video and interval."""
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
    """Return pairs of clips with equal `by`, and the unmatched clips of both."""
    waiting: dict[Any, list[ClipKey]] = defaultdict(list)
    for clip in reversed(new):
        waiting[by(clip)].append(clip)
    pairs, gone = [], []
    for clip in old:
        if waiting[by(clip)]:
            pairs.append((clip, waiting[by(clip)].pop()))
        else:
            gone.append(clip)
    left = {id(clip) for clips in waiting.values() for clip in clips}
    return pairs, gone, [clip for clip in new if id(clip) in left]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{len(names)} ({shown}{', ...' if len(names) > 3 else ''})"


def _moments(moments: Moments) -> str:
    return "; ".join(", ".join(f"{value:.6g}" for value in values) for values in moments)


@dataclass(frozen=True, slots=True)
class Between:
    """The differences between two stores.

    Attributes
    ----------
    fields : list of str
        One line for each field in which they differ.
    same_clips, clips : int
        Clips of the second store with features in the first one, and all of its clips.
    same_steps, steps : int
    """

    fields: list[str]
    same_clips: int
    clips: int
    same_steps: int
    steps: int

    def lines(self) -> Iterator[str]:
        """Yield the differences as lines of text."""
        yield from self.fields or ["nothing: both have the same key"]
        yield (
            f"same features: {self.same_clips} of {self.clips} clips "
            f"({self.same_steps} of {self.steps} steps)"
        )


def between(old: Store, new: Store) -> Between:
    """Return the fields in which two stores differ, and the number of shared clips."""
    before, after = (of_store(store, str(store.path)) for store in (old, new))
    same = shared(before, after)
    return Between(
        changes(before, after),
        len(same),
        len(after.clips),
        int(new.row_size[sorted(same)].sum()),
        int(new.row_size.sum()),
    )
