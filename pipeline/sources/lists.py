"""Read text files that list videos and labels, one file per part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from featstore.errors import InputError
from pipeline.sources.assemble import assemble
from pipeline.sources.base import Dataset, Source, Split, option
from pipeline.sources.draft import Draft
from pipeline.sources.files import (
    VIDEO_SUFFIXES,
    group_of,
    locate,
    without_suffix,
)
from pipeline.sources.labels import ClassList, read_classes
from pipeline.sources.names import on_disk
from pipeline.sources.rows import Row, read_lines, read_table
from pipeline.sources.subjects import SUBJECT_HELP, name_subjects

KINETICS = ("label", "youtube_id", "time_start", "time_end")

_SUFFIXES = "|".join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES))
# Paths and labels may hold spaces and commas, so the video's extension separates them.
_SUFFIX = re.compile(rf"(?:{_SUFFIXES})(?=$|[\s,;])", re.IGNORECASE)
# Lists of TSN and mmaction2 have the number of frames between path and label.
_COUNTED = re.compile(r"\d+[\s,;]+\d+")


@dataclass(frozen=True, kw_only=True)
class Lists(Source):
    """Whole videos from lists, such as those of UCF101, HMDB51, Jester and Kinetics.

    A line is ``path label``, ``path,label``, ``path;label``, or only a path with the label as its
    folder. A label is a name, or an integer that ``--classes`` resolves. A list of TSN or mmaction2
    has ``path frames label`` on every line. Kinetics' CSV files are detected by their header.
    """

    name: ClassVar[str] = "lists"

    data: Path = option(help="Folder to which the paths in the lists are relative.")
    train_list: Path = option(help="List of the training videos.")
    val_list: Path | None = option(None, help="List of the val videos; by default from train.")
    test_list: Path = option(help="List of the test videos.")
    classes: Path | None = option(None, help="Class list: a file with one name per line.")
    subject: str | None = option(None, help=SUBJECT_HELP)

    def read(self, like: ClassList | None = None) -> Dataset:
        """Read the lists; see `Source.read`."""
        files: list[tuple[Split, Path | None]] = [
            ("train", self.train_list),
            ("val", self.val_list),
            ("test", self.test_list),
        ]
        notes: list[str] = []
        drafts = [
            draft for split, file in files if file for draft in self._drafts(file, split, notes)
        ]
        drafts, subjects = name_subjects(drafts, self.subject)
        classes = read_classes(self.classes) if self.classes else None
        return assemble(
            drafts if classes or like else _without_list(drafts),
            title=f"{self.data.resolve().name} {self.train_list.stem} {self.test_list.stem}",
            classes=classes,
            like=like,
            notes=[*subjects, *notes],
        )

    def _drafts(self, file: Path, split: Split, notes: list[str]) -> list[Draft]:
        lines = read_lines(file)
        columns = {name.strip() for name in lines[0][1].casefold().split(",")}
        if {"youtube_id", "time_start"} <= columns:
            return [self._kinetics(row, split) for row in read_table(file, KINETICS)]
        if _parse(lines[0][1], self.data) in _HEADERS:
            lines = lines[1:]
        parsed = [_parse(line, self.data) for _, line in lines]
        if parsed and all(_is_counted(*entry, self.data) for entry in parsed):
            parsed = [_without_count(*entry) for entry in parsed]
            notes.append(f"{file.name}: lines are read as path, number of frames, label.")
        return [
            self._draft(line, *entry, f"{file} row {number}", split)
            for (number, line), entry in zip(lines, parsed, strict=True)
        ]

    def _draft(self, line: str, text: str, label: str | None, where: str, split: Split) -> Draft:
        video, path = locate(self.data, text)
        if label is None:
            label = PurePosixPath(video).parent.name
        if not label:
            raise InputError(f'{where}: "{line}" has no label; write "path label"')
        return Draft(
            clip_id=without_suffix(video),
            video=video,
            path=path,
            label=label,
            where=where,
            subject=group_of(video),
            split=split,
        )

    def _kinetics(self, row: Row, split: Split) -> Draft:
        start, stop = (int(row.number_in(column)) for column in ("time_start", "time_end"))
        label, subject = row.text("label"), row.text("youtube_id")
        file = f"{subject}_{start:06d}_{stop:06d}.mp4"
        folder = on_disk(self.data / label, label)
        flat = (self.data / file).exists() or not folder.is_dir()
        video, path = locate(self.data, file if flat else f"{label}/{file}")
        return Draft(
            clip_id=without_suffix(file),
            video=video,
            path=path,
            label=label,
            where=row.where,
            subject=subject,
            split=split,
        )


_HEADERS = {(path, label) for path in ("path", "video", "file") for label in ("label", "class")}


def _parse(line: str, folder: Path) -> tuple[str, str | None]:
    """Return the path and label of a line; None if it has no label."""
    ends = [match.end() for match in _SUFFIX.finditer(line) if match.start()]
    if ends:
        end = ends[0] if len(ends) == 1 else _end_of_path(line, ends, folder)
        return line[:end], line[end:].lstrip(" \t,;") if line[end:] else None
    # No extension: a folder of images, so split at the first separator.
    for separator in (";", ","):
        if separator in line:
            path, label = line.split(separator, 1)
            return path.strip(), label.strip()
    path, _, label = line.replace("\t", " ").rpartition(" ")
    return (path.strip(), label) if path else (line, None)


def _end_of_path(line: str, ends: Sequence[int], folder: Path) -> int:
    """Return the end of a path with several extensions: that of the longest existing path."""
    for end in reversed(ends):
        if on_disk(folder / line[:end], line[:end]).exists():
            return end
    return ends[0]


def _is_counted(path: str, label: str | None, folder: Path) -> bool:
    """Tell whether a number of frames may be between path and label."""
    if label is None or _COUNTED.fullmatch(label):
        return label is not None
    name, _, count = path.rpartition(" ")
    # A folder of images may have a number at the end of its name.
    return bool(name) and count.isdecimal() and label.isdecimal() and not (folder / path).exists()


def _without_count(path: str, label: str | None) -> tuple[str, str]:
    parts = re.split(r"[\s,;]+", label or "")
    return (path, parts[1]) if len(parts) > 1 else (path.rpartition(" ")[0].strip(), parts[0])


def _without_list(drafts: Sequence[Draft]) -> list[Draft]:
    """Return drafts for lists without ``--classes``; refuse a mix of integer labels and names."""
    numbers = [draft for draft in drafts if draft.label.isdecimal()]
    names = [draft for draft in drafts if not draft.label.isdecimal()]
    if numbers and names:
        raise InputError(
            f"{numbers[0].where} has the label {numbers[0].label} and {names[0].where} has "
            f'"{names[0].label}"; pass --classes FILE with the names of the numbers '
            "(UCF101: classInd.txt)"
        )
    return [replace(draft, label=str(int(draft.label))) for draft in numbers] or names
