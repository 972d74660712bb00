"""Subjects from the names of videos, by a regular expression."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from featstore.errors import InputError
from featstore.text import count_of
from pipeline.sources.draft import Draft
from pipeline.sources.labels import listing
from pipeline.sources.names import normal

SUBJECT_HELP = (
    r"Regular expression whose one group is the subject in a video's path: 'person(\d+)'."
)


def name_subjects(drafts: Sequence[Draft], pattern: str | None) -> tuple[list[Draft], list[str]]:
    """Return drafts with the subjects that a pattern finds in their videos' paths.

    Parameters
    ----------
    drafts : sequence of Draft
    pattern : str, optional
        A regular expression with one group, searched in the path below ``--data``. Without it, the
        drafts keep their subjects.

    Returns
    -------
    drafts : list of Draft
    notes : list of str
        A sentence with the subjects and how many videos each has.

    Raises
    ------
    InputError
        If the pattern is invalid, does not have one group, or finds no subject in a video.
    """
    if pattern is None:
        return list(drafts), []
    try:
        expression = re.compile(normal(pattern))
    except re.error as error:
        raise InputError(
            f"--subject '{pattern}' is not a regular expression ({error}); correct it"
        ) from None
    if expression.groups != 1:
        raise InputError(
            f"--subject '{pattern}' has {count_of(expression.groups, 'group')}; write one, around "
            r"the subject, such as 'person(\d+)', and (?:...) for others"
        )
    subjects = {draft.video: _subject(expression, draft.video) for draft in drafts}
    unnamed = [video for video, subject in subjects.items() if not subject]
    if len(unnamed) == len(subjects):
        raise InputError(
            f"--subject '{pattern}' matches no video, such as {listing(unnamed, 3)}; correct the "
            "expression"
        )
    if unnamed:
        raise InputError(
            f"--subject '{pattern}' finds no subject in {len(unnamed)} of {len(subjects)} videos: "
            f"{listing(unnamed, 3)}; correct the expression"
        )
    videos = Counter(subject for subject in subjects.values() if subject)
    counts = [f"{subject} ({videos[subject]})" for subject in sorted(videos)]
    note = (
        f"--subject finds {count_of(len(videos), 'subject')} in {count_of(len(subjects), 'video')} "
        f"(videos of each): {listing(counts, 40)}."
    )
    return [replace(draft, subject=subjects[draft.video]) for draft in drafts], [note]


def _subject(expression: re.Pattern[str], video: str) -> str | None:
    match = expression.search(normal(video))
    return match[1] if match else None
