"""Read clips from a CSV file with one row per clip."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import ClassVar, Literal

from featstore.errors import InputError
from pipeline.sources.assemble import Fold, assemble, chosen_fold, part_name
from pipeline.sources.base import Dataset, Source, Split, option
from pipeline.sources.columns import check_interval_columns, unused_columns, with_column
from pipeline.sources.draft import Draft
from pipeline.sources.files import locate, without_suffix
from pipeline.sources.labels import ClassList, read_classes
from pipeline.sources.parts import SPLIT_HELP, part_of, read_splits
from pipeline.sources.rows import Row, read_table

OPTIONAL = ("subject", "split", "clip_id")
COLUMNS = ("video", "label", "start", "end", *OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class Table(Source):
    """Clips from a CSV file with the columns ``video,start,end,label,subject,split``.

    A column ``stop`` means ``end``. Paths of videos are relative to the CSV's folder. Without
    ``start,end`` a row is a whole video; without ``subject`` every video counts as a subject.
    """

    name: ClassVar[str] = "table"

    data: Path = option(help="The CSV file with one row per clip.")
    split_file: Path | None = option(None, help=SPLIT_HELP)
    split: int | None = option(None, help="Number of the split: N of the column split_N.")
    folds: int | None = option(None, help="Split by subject into this many folds.")
    fold: int | None = option(None, help="Fold that becomes test, from 0; the next becomes val.")
    unit: str | None = option(
        None,
        help="Unit of start and end in a table.  [default: frames]",
        choices=("frames", "seconds"),
    )
    classes: Path | None = option(None, help="Class list: a file with one name per line.")

    def read(self, like: ClassList | None = None) -> Dataset:
        """Read the table; see `Source.read`."""
        required = ("video", "label") if like is None else ("video",)
        rows = [with_column(row, "end", "stop") for row in read_table(self.data, required)]
        columns = rows[0].cells.keys()
        check_interval_columns(self.data, columns, "end")
        fold = chosen_fold(self.folds, self.fold)
        parts = None if self._all_test(columns, like) else self._parts(columns, fold)
        notes = unused_columns(columns, COLUMNS, OPTIONAL)
        if "split" in columns and (parts is not None or fold is not None):
            flag = "--split-file" if fold is None else "--folds"
            notes.append(f"{flag} replaces the column split of {self.data.name}.")
        locate_video = cache(partial(locate, self.data.parent))  # clips share videos
        filled = [self._filled(row, like) for row in rows]
        title = f"{self.data.resolve().parent.name} {self.data.stem}"
        dataset = assemble(
            [self._draft(row, parts, locate_video, like=like is not None) for row in filled],
            title=title if self.split is None else f"{title} split {self.split}",
            classes=read_classes(self.classes) if self.classes else None,
            fold=fold,
            like=like,
            notes=notes,
        )
        return replace(dataset, unit_assumed=self.unit is None)

    def _all_test(self, columns: Collection[str], like: ClassList | None) -> bool:
        """Whether nothing says which clips are test, and all are."""
        said = "split" in columns or self.split_file is not None or self.folds is not None
        return like is not None and not said

    def _filled(self, row: Row, like: ClassList | None) -> Row:
        """Return a row with the cells that a table for a trained run may lack."""
        if like is None:
            return row
        missing = {"label": ""} | ({"split": "test"} if self._all_test(row.cells, like) else {})
        return replace(row, cells={**missing, **row.cells})

    def _parts(self, columns: Collection[str], fold: Fold | None) -> Mapping[str, Split] | None:
        """Return the part of each subject from ``--split-file``; check the choice of the split."""
        if self.split is not None and self.split_file is None:
            raise InputError(f"--split {self.split} needs --split-file FILE with subject,split_N")
        if self.split_file is not None and fold is not None:
            raise InputError(
                f"--split-file {self.split_file} and --folds exclude each other; pass one"
            )
        if self.split_file is not None:
            return read_splits(self.split_file, self.split)
        if fold is None and "split" not in columns:
            raise InputError(
                f"{self.data} does not say which clips are train, val and test; add a column "
                "split, or pass --split-file FILE (subject to part), or --folds K --fold I"
            )
        return None

    def _draft(
        self,
        row: Row,
        parts: Mapping[str, Split] | None,
        locate_video: Callable[[str], tuple[str, Path]],
        *,
        like: bool,
    ) -> Draft:
        video, path = locate_video(row.text("video"))
        subject = row.text("subject") if "subject" in row.cells else None
        split: Split | None = None
        if parts is not None:
            split = part_of(subject or video, parts, self.split_file, row.where)
        elif self.folds is None:
            split = part_name(row.text("split"), row.where)
        unit: Literal["frames", "seconds"] = "seconds" if self.unit == "seconds" else "frames"
        start, stop = _interval(row, unit)
        span = "" if start is None or stop is None else f"#{_shown(start)}-{_shown(stop)}"
        clip_id = row.text("clip_id") if "clip_id" in row.cells else without_suffix(video) + span
        return Draft(
            clip_id=clip_id,
            video=video,
            path=path,
            label=row.cells["label"] if like else row.text("label"),
            where=row.where,
            start=start,
            stop=stop,
            unit=unit,
            subject=subject,
            split=split,
        )


def _interval(row: Row, unit: Literal["frames", "seconds"]) -> tuple[float | None, float | None]:
    if not row.cells.get("start") and not row.cells.get("end"):
        return None, None
    if unit == "seconds":
        return row.number_in("start"), row.number_in("end")
    remedy = "use --unit seconds if these are seconds, not frames"
    return row.whole_number_in("start", remedy), row.whole_number_in("end", remedy)


def _shown(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)
