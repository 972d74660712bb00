"""Assign subjects to train, val and test, where the annotations do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featstore.errors import InputError
from pipeline.sources.assemble import assemble, chosen_fold, part_name
from pipeline.sources.base import Dataset, Source, Split, option
from pipeline.sources.draft import Draft
from pipeline.sources.labels import ClassList, listing, nearest_hint, read_classes
from pipeline.sources.rows import read_table
from pipeline.sources.subjects import SUBJECT_HELP, name_subjects

SPLIT_HELP = "CSV file from subject to train, val or test."


@dataclass(frozen=True, kw_only=True)
class SplitBySubject(Source):
    """A source whose annotations do not say which clips are train, val and test.

    ``--split-file`` or ``--folds`` splits by subject; clips for a trained run are all test.
    """

    split_file: Path | None = option(None, help=SPLIT_HELP)
    split: int | None = option(None, help="Number of the split: N of the column split_N.")
    folds: int | None = option(None, help="Split by subject into this many folds.")
    fold: int | None = option(None, help="Fold that becomes test, from 0; the next becomes val.")
    classes: Path | None = option(None, help="Class list: a file with one name per line.")
    subject: str | None = option(None, help=SUBJECT_HELP)

    def _assembled(
        self,
        drafts: Sequence[Draft],
        data: Path,
        title: str,
        notes: Sequence[str],
        like: ClassList | None,
    ) -> Dataset:
        """Return the data set of clips without parts.

        Raises
        ------
        InputError
            If nothing says which clips are test, or the file lacks a subject.
        """
        fold = chosen_fold(self.folds, self.fold)
        if self.split is not None and self.split_file is None:
            raise InputError(f"--split {self.split} needs --split-file FILE with subject,split_N")
        if self.split_file is not None and fold is not None:
            raise InputError(
                f"--split-file {self.split_file} and --folds exclude each other; pass one"
            )
        drafts, subjects = name_subjects(drafts, self.subject)
        return assemble(
            drafts if fold is not None else self._with_parts(drafts, data, like),
            title=title if self.split is None else f"{title} split {self.split}",
            classes=read_classes(self.classes) if self.classes else None,
            fold=fold,
            like=like,
            notes=[*subjects, *notes],
        )

    def _with_parts(
        self, drafts: Sequence[Draft], data: Path, like: ClassList | None
    ) -> list[Draft]:
        if self.split_file is None:
            if like is None:
                raise InputError(
                    f"{data} does not say which clips are train, val and test; pass --split-file "
                    "FILE (subject to part), or --folds K --fold I"
                )
            return [replace(draft, split="test") for draft in drafts]
        parts = read_splits(self.split_file, self.split)
        known = all(draft.subject is not None for draft in drafts)
        names = [draft.subject if known and draft.subject else draft.video for draft in drafts]
        return [
            replace(draft, split=part_of(name, parts, self.split_file, draft.where))
            for draft, name in zip(drafts, names, strict=True)
        ]


def part_of(subject: str, parts: Mapping[str, Split], split_file: Path | None, where: str) -> Split:
    """Return the part of a subject.

    Raises
    ------
    InputError
        If the file lacks the subject.
    """
    if subject not in parts:
        raise InputError(
            f'{where}: subject "{subject}" is not in {split_file}{nearest_hint(subject, parts)}'
        )
    return parts[subject]


def read_splits(path: Path, number: int | None) -> dict[str, Split]:
    """Return the part of each subject from a CSV file.

    Parameters
    ----------
    path : Path
        CSV with ``subject,split`` or ``subject,split_0,split_1,...``.
    number : int or None
        N of the column ``split_N``; None takes the column ``split``.

    Raises
    ------
    InputError
        If the column is missing, a subject occurs twice, or a part is unknown.
    """
    rows = read_table(path, ("subject",))
    column = "split" if number is None else f"split_{number}"
    if column not in rows[0].cells:
        raise InputError(
            f'{path} has no column "{column}", only {listing(rows[0].cells)}; '
            "choose one with --split N"
        )
    parts: dict[str, Split] = {}
    for row in rows:
        subject = row.text("subject")
        if subject in parts:
            raise InputError(f'{row.where}: subject "{subject}" was listed before; keep one row')
        parts[subject] = part_name(row.cells[column], row.where)
    return parts
