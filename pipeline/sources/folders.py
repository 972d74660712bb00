"""Read videos from one folder per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from featstore.errors import InputError
from pipeline.sources.assemble import Fold, assemble, chosen_fold
from pipeline.sources.base import SPLITS, Dataset, Source, Split, option
from pipeline.sources.draft import Draft
from pipeline.sources.files import (
    VIDEO_SUFFIXES,
    group_of,
    is_image_folder,
    visible_entries,
    without_suffix,
)
from pipeline.sources.labels import ClassList, listing, read_classes
from pipeline.sources.subjects import SUBJECT_HELP, name_subjects


@dataclass(frozen=True, kw_only=True)
class Folders(Source):
    """Whole videos in ``DIR/{train,val,test}/<class>/``, or ``DIR/<class>/`` to split by folds.

    A folder of numbered images is a video. ``--subject`` finds the subject in a
    video's path; without it, the group in UCF101's file names is the subject.
    """

    name: ClassVar[str] = "folders"

    data: Path = option(help="Folder that holds train, val and test, or the classes.")
    folds: int | None = option(None, help="Split by subject into this many folds.")
    fold: int | None = option(None, help="Fold that becomes test, from 0; the next becomes val.")
    classes: Path | None = option(None, help="Class list: a file with one name per line.")
    subject: str | None = option(None, help=SUBJECT_HELP)

    def read(self, like: ClassList | None = None) -> Dataset:
        """Read the folders; see `Source.read`."""
        fold = chosen_fold(self.folds, self.fold)
        drafts: list[Draft] = []
        skipped: list[str] = []
        if not self.data.is_dir():
            raise InputError(f"{self.data} is not a folder; check --data")
        for split, folder in class_folders(self.data, fold):
            for entry in visible_entries(folder):
                if entry.suffix.casefold() in VIDEO_SUFFIXES or is_image_folder(entry):
                    drafts.append(self._draft(entry, split))
                else:
                    skipped.append(entry.relative_to(self.data).as_posix())
        if not drafts:
            raise InputError(
                f"{self.data} holds no video in its class folders; use folders of numbered images "
                f"or {listing(sorted(VIDEO_SUFFIXES))}"
            )
        drafts, notes = name_subjects(drafts, self.subject)
        if skipped:
            notes.append(f"Skipped, not videos: {listing(skipped)}.")
        return assemble(
            drafts,
            title=self.data.resolve().name,
            classes=read_classes(self.classes) if self.classes else None,
            fold=fold,
            like=like,
            notes=notes,
        )

    def _draft(self, path: Path, split: Split | None) -> Draft:
        video = path.relative_to(self.data).as_posix()
        return Draft(
            clip_id=without_suffix(video),
            video=video,
            path=path,
            label=path.parent.name,
            where=str(path),
            subject=group_of(video),
            split=split,
        )


def class_folders(data: Path, fold: Fold | None) -> Iterator[tuple[Split | None, Path]]:
    """Yield the folder of every class, once for each of train, val and test.

    Parameters
    ----------
    data : Path
        A folder of train, val and test, or of the classes.
    fold : Fold or None
        Without it, `data` must hold train, val or test.

    Raises
    ------
    InputError
    """
    top = [entry for entry in visible_entries(data) if entry.is_dir()]
    parts = [entry.name for entry in top if entry.name in SPLITS]
    if not parts:
        if fold is None:
            raise InputError(f"{data} has no folders train, val and test; pass --folds K --fold I")
        yield from ((None, folder) for folder in top)
        return
    if len(parts) < len(top):
        others = [entry.name for entry in top if entry.name not in SPLITS]
        raise InputError(
            f"{data} holds {listing(others)} in addition to {listing(parts)}; only "
            "train, val and test are allowed, so rename or move the others"
        )
    for split in SPLITS:
        if split in parts:
            folders = visible_entries(data / split)
            yield from ((split, folder) for folder in folders if folder.is_dir())
