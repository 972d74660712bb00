"""Validate the clips of a source and make a data set: the rules that all sources share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from featstore.errors import InputError
from pipeline.sources.base import SPLITS, Annotation, Dataset, Split
from pipeline.sources.draft import Draft, checked
from pipeline.sources.labels import ClassList, listing
from pipeline.sources.names import lookalike_notes

VAL_SHARE = 5  # without val clips, one in this many training subjects moves to val


class Fold(NamedTuple):
    """A split by subject into equal folds, and the number of the test fold, from 0."""

    number: int
    folds: int

    def __str__(self) -> str:
        return f"fold {self.number} of {self.folds}"


def assemble(
    drafts: Sequence[Draft],
    *,
    title: str,
    classes: ClassList | None = None,
    fold: Fold | None = None,
    like: ClassList | None = None,
    notes: Sequence[str] = (),
    any_character: bool = False,
) -> Dataset:
    """Check the clips, fill in missing fields, and return the data set.

    Parameters
    ----------
    drafts : sequence of Draft
        At least one. If a draft has no subject, every video counts as a subject.
    title : str
    classes : ClassList, optional
        Allowed labels; by default, the sorted labels of the drafts.
    fold : Fold, optional
        Split by subject; replaces the parts of the drafts.
    like : ClassList, optional
        The classes of a trained run, which replace `classes`. Labels may be empty, and train and
        val may have no clips.
    notes : sequence of str
        Further notes of the source.
    any_character : bool
        Allow control characters in labels and subjects, as in a store.

    Raises
    ------
    InputError
        If a clip id occurs twice, an interval is empty, a label is unknown, a part is empty, a
        subject is in two parts, or a name holds control characters or is not UTF-8.
    """
    drafts = [checked(draft, any_character=any_character) for draft in drafts]
    _check_unique(drafts)
    subjects_known = all(draft.subject is not None for draft in drafts)
    classes = like or classes
    clips = [_annotation(draft, subjects_known, classes) for draft in drafts]
    all_notes = list(notes)
    if fold is not None:
        parts = fold_parts([clip.subject for clip in clips], fold)
        clips = [replace(clip, split=parts[clip.subject]) for clip in clips]
        if any(draft.split for draft in drafts):
            all_notes.append("--folds replaces the parts that the data is sorted into.")
    if like is None:
        _check_filled(clips)
    if like is None and all(clip.split != "val" for clip in clips):
        clips = _take_val(clips)
        all_notes.append(_val_note(clips, subjects_known))
    _check_overlap(clips, subjects_known)
    names = classes.names if classes else sort_labels({clip.label for clip in clips})
    return Dataset(
        title=f"{title} {fold}" if fold else title,
        annotations=tuple(clips),
        classes=names,
        subjects_known=subjects_known,
        notes=(
            *all_notes,
            *(_label_notes(clips, names, listed=classes is not None) if like is None else ()),
            *_unlabelled(clips),
            *_lookalikes(clips, names, subjects_known),
        ),
    )


def part_name(text: str, where: str) -> Split:
    """Return the part that `text` names, ignoring case.

    Raises
    ------
    InputError
        If it is not train, val or test.
    """
    for part in SPLITS:
        if text.casefold() == part:
            return part
    raise InputError(f'{where}: part "{text}" is unknown; write train, val or test')


def chosen_fold(folds: int | None, fold: int | None) -> Fold | None:
    """Return the fold of ``--folds K --fold I``; None without both.

    Raises
    ------
    InputError
        If only one of the two is set, or they are out of range.
    """
    if folds is None and fold is None:
        return None
    if folds is None or fold is None:
        raise InputError("--folds K and --fold I belong together; pass both")
    if folds < 3:
        raise InputError(
            f"--folds is {folds}; pass 3 or more, because test and val take one fold each"
        )
    if not 0 <= fold < folds:
        raise InputError(f"--fold {fold} is not one of {folds} folds; pass 0 to {folds - 1}")
    return Fold(fold, folds)


def assign_folds(subjects: Iterable[str], folds: int) -> dict[str, int]:
    """Assign subjects deterministically to folds with about the same number of clips.

    Parameters
    ----------
    subjects : iterable of str
        One per clip, in any order.
    folds : int

    Raises
    ------
    InputError
        If there are fewer subjects than folds.

    Examples
    --------
    >>> assign_folds(["a", "a", "a", "b", "b", "c"], 2)
    {'a': 0, 'b': 1, 'c': 1}
    """
    counts = Counter(subjects)
    if len(counts) < folds:
        raise InputError(
            f"{folds} folds need at least {folds} subjects, but there are {len(counts)}: "
            f"{listing(sorted(counts))}"
        )
    # Assign the largest subject first, to the smallest fold; ties go to the fold with the fewest
    # subjects, so every fold gets at least one.
    load = [(0, 0, fold) for fold in range(folds)]
    result = {}
    for subject in sorted(counts, key=lambda name: (-counts[name], name)):
        clips, size, fold = min(load)
        load[fold] = (clips + counts[subject], size + 1, fold)
        result[subject] = fold
    return result


def fold_parts(subjects: Iterable[str], fold: Fold) -> dict[str, Split]:
    """Return the part of each subject: the fold is test, the next one val, the rest train."""
    parts: dict[int, Split] = {fold.number: "test", (fold.number + 1) % fold.folds: "val"}
    folds = assign_folds(subjects, fold.folds)
    return {subject: parts.get(number, "train") for subject, number in folds.items()}


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels sorted by value if all are integers, else by name."""
    names = sorted(labels)
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else names)


def _annotation(draft: Draft, subjects_known: bool, classes: ClassList | None) -> Annotation:
    subject = draft.subject if subjects_known else None
    return Annotation(
        clip_id=draft.clip_id,
        video=draft.video,
        path=draft.path,
        start=draft.start,
        stop=draft.stop,
        unit=draft.unit,
        label=classes.resolve(draft.label, draft.where) if classes and draft.label else draft.label,
        subject=draft.video if subject is None else subject,
        split=draft.split or "train",  # the fold replaces a missing part
    )


def _check_unique(drafts: Iterable[Draft]) -> None:
    seen: dict[str, Draft] = {}
    for draft in drafts:
        first = seen.setdefault(draft.clip_id, draft)
        if first is not draft:
            raise InputError(
                f'{first.where} and {draft.where} are both clip "{draft.clip_id}"; '
                "remove one of them or give them different names"
            )


def _check_filled(clips: Sequence[Annotation]) -> None:
    for part in ("train", "test"):
        if not any(clip.split == part for clip in clips):
            raise InputError(f"{part} has no clips; put at least one subject there")


def _take_val(clips: list[Annotation]) -> list[Annotation]:
    """Return clips with a share of the training subjects moved to val."""
    subjects = [clip.subject for clip in clips if clip.split == "train"]
    count = len(set(subjects))
    if count < 2:
        raise InputError(
            f"there are no val clips, and train has {count} subject(s) to take them from, too few; "
            "mark some clips as val"
        )
    folds = assign_folds(subjects, min(VAL_SHARE, count))
    return [
        replace(clip, split="val") if clip.split == "train" and folds[clip.subject] == 0 else clip
        for clip in clips
    ]


def _val_note(clips: Sequence[Annotation], subjects_known: bool) -> str:
    val = sorted({clip.subject for clip in clips if clip.split == "val"})
    count = len({clip.subject for clip in clips if clip.split != "test"})
    what = "subjects" if subjects_known else "videos"
    return (
        f"There are no val clips: {len(val)} of the {count} training {what} "
        f"were moved to val: {listing(val)}."
    )


def _check_overlap(clips: Sequence[Annotation], subjects_known: bool) -> None:
    parts: dict[str, set[str]] = {}
    for clip in clips:
        parts.setdefault(clip.subject, set()).add(clip.split)
    shared = [
        f"{name} ({', '.join(part for part in SPLITS if part in split_names)})"
        for name, split_names in sorted(parts.items())
        if len(split_names) > 1
    ]
    if shared:
        what = "subjects" if subjects_known else "videos"
        raise InputError(
            f"{what} in more than one part would leak into the test: {listing(shared)}; "
            f"put each of the {what} into a single part"
        )


def _label_notes(clips: Sequence[Annotation], classes: Sequence[str], listed: bool) -> list[str]:
    labels = {part: {clip.label for clip in clips if clip.split == part} for part in SPLITS}
    notes = []
    untrained = [name for name in classes if name not in labels["train"]]
    if untrained:
        notes.append(f"Classes without training clips: {listing(untrained)}.")
    for part in () if listed else SPLITS:
        others = set().union(*(labels[other] for other in SPLITS if other != part))
        if only := labels[part] - others:
            notes.append(f"Labels found in {part} only: {listing(sort_labels(only))}.")
    return notes


def _unlabelled(clips: Sequence[Annotation]) -> list[str]:
    count = sum(not clip.label for clip in clips)
    return [f"{count} of {len(clips)} clips have no label."] if count else []


def _lookalikes(
    clips: Sequence[Annotation], classes: Sequence[str], subjects_known: bool
) -> list[str]:
    """Return notes on similar names, which may mean the same class or subject."""
    parts: dict[str, set[str]] = {}
    for clip in clips if subjects_known else ():
        parts.setdefault(clip.subject, set()).add(clip.split)
    subjects = {name: ", ".join(p for p in SPLITS if p in splits) for name, splits in parts.items()}
    return [
        *lookalike_notes("Classes", dict.fromkeys(classes, "")),
        *lookalike_notes("Subjects", subjects),
    ]
