"""A clip as a source reads it, before the rules that all sources share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from featstore.errors import InputError
from pipeline.sources.base import Split
from pipeline.sources.names import check_characters, check_utf8, normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An unvalidated `Annotation`: subject and part are optional, and it knows its origin."""

    clip_id: str
    video: str
    path: Path
    label: str
    where: str
    start: float | None = None
    stop: float | None = None
    unit: Literal["frames", "seconds"] = "frames"
    subject: str | None = None
    split: Split | None = None


def checked(draft: Draft, *, any_character: bool = False) -> Draft:
    """Return a draft with normalised names.

    Parameters
    ----------
    draft : Draft
    any_character : bool
        Allow control characters in labels and subjects.

    Raises
    ------
    InputError
        If the interval is empty, the label or subject holds control characters, or the file name
        is not UTF-8.
    """
    check_utf8(draft.path)
    _check_interval(draft)
    if all(map(_is_plain, (draft.clip_id, draft.video, draft.label, draft.subject or ""))):
        return draft
    if not any_character:
        check_characters("label", draft.label, draft.where)
        check_characters("subject", draft.subject or "", draft.where)
    return replace(
        draft,
        clip_id=normal(draft.clip_id),
        video=normal(draft.video),
        label=normal(draft.label),
        subject=None if draft.subject is None else normal(draft.subject),
    )


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isprintable()


def _check_interval(draft: Draft) -> None:
    if draft.start is None or draft.stop is None:
        return
    if draft.start < 0:
        raise InputError(f"{draft.where}: start {draft.start} is negative; correct it")
    if draft.start >= draft.stop:
        raise InputError(
            f"{draft.where}: start {draft.start} is not before end {draft.stop} "
            "(the end is exclusive); correct the interval"
        )
