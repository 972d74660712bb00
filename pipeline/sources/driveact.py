"""Read Drive&Act in its official layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from featstore.errors import InputError
from pipeline.sources.assemble import assemble
from pipeline.sources.base import SPLITS, Dataset, Source, Split, option
from pipeline.sources.draft import Draft
from pipeline.sources.labels import ClassList, listing, nearest_hint, read_classes
from pipeline.sources.rows import Row, read_table

SUFFIXES = {
    "inner_mirror": "ids_1",
    "a_column_co_driver": "ids_2",
    "ceiling": "ids_3",
    "steering_wheel": "ids_4",
    "a_column_driver": "ids_5",
    "kinect_color": "kinect_color",
    "kinect_ir": "kinect_ir",
    "kinect_depth": "kinect_depth",
}
LEVELS = ("midlevel", "tasklevel", "objectlevel")
TARGETS = ("activity", "object", "location", "triplet")
COLUMNS = (
    "participant_id",
    "file_id",
    "annotation_id",
    "frame_start",
    "frame_end",
    "activity",
    "chunk_id",
)
LAYOUTS = ("activities_3s", "iccv_activities_3s/activities_3s")

# The 39 labels of the unsplit midlevel file; the official splits use 34 of them.
MIDLEVEL = (
    "closing_backpack",
    "closing_bottle",
    "closing_door_inside",
    "closing_door_outside",
    "closing_laptop",
    "drinking",
    "eating",
    "entering_car",
    "exiting_car",
    "fastening_seat_belt",
    "fetching_an_object",
    "interacting_with_phone",
    "looking_back_left_shoulder",
    "looking_back_right_shoulder",
    "looking_or_moving_around (e.g. searching)",
    "moving_towards_door",
    "opening_backpack",
    "opening_bottle",
    "opening_door_inside",
    "opening_door_outside",
    "opening_laptop",
    "placing_an_object",
    "preparing_food",
    "pressing_automation_button",
    "putting_laptop_into_backpack",
    "putting_on_jacket",
    "putting_on_sunglasses",
    "reading_magazine",
    "reading_newspaper",
    "sitting_still",
    "standing_by_the_door",
    "taking_laptop_from_backpack",
    "taking_off_jacket",
    "taking_off_sunglasses",
    "talking_on_phone",
    "unfastening_seat_belt",
    "using_multimedia_display",
    "working_on_laptop",
    "writing",
)


@dataclass(frozen=True, kw_only=True)
class DriveAct(Source):
    """Clips of one view of Drive&Act, with the official splits.

    The classes are the labels of the split files. A label that only the unsplit file has becomes a
    class if ``--classes`` names it; its clips then belong to the part of their participant.
    """

    name: ClassVar[str] = "driveact"
    dataset: ClassVar[str] = "driveact"

    data: Path = option(
        Path("data/driveact"), help="Folder that holds activities_3s and the views."
    )
    view: str = option("kinect_ir", help="Camera of Drive&Act.", choices=tuple(SUFFIXES))
    level: str = option("midlevel", help="Level of Drive&Act's annotation.", choices=LEVELS)
    target: str = option("activity", help="The target of objectlevel.", choices=TARGETS)
    split: int = option(0, help="Number of the split.")
    classes: Path | None = option(None, help="Class list: a file with one name per line.")

    def read(self, like: ClassList | None = None) -> Dataset:
        """Read the annotation files; see `Source.read`."""
        if self.target != "activity" and self.level != "objectlevel":
            raise InputError(
                f"--target {self.target} needs --level objectlevel, but --level is {self.level}"
            )
        folder = self._folder()
        drafts: list[Draft] = []
        for part in SPLITS:
            drafts += self._drafts(self._rows(folder, f".split_{self.split}.{part}"), part)
        classes = read_classes(self.classes) if self.classes else None
        if self.level == "midlevel":
            _check_official(drafts, classes)
        if classes:
            drafts += self._outside_splits(folder, drafts, classes)
        title = f"driveact {self.view} {self.level} split {self.split}"
        dataset = assemble(
            drafts,
            title=title if self.target == "activity" else f"{title} {self.target}",
            classes=classes,
            like=like,
        )
        color = self.view == "kinect_color"
        return replace(
            dataset,
            fps=5.0,
            video_rate=15.0 if color else 30.0,
            pixels="rgb" if color else "luma",
            min_frames=8,
        )

    def _folder(self) -> Path:
        for layout in LAYOUTS:
            if (self.data / layout / self.view).is_dir():
                return self.data / layout / self.view
        other_views = [
            view for view in SUFFIXES for layout in LAYOUTS if (self.data / layout / view).is_dir()
        ]
        if other_views:
            raise InputError(
                f"{self.data} has no annotations of view {self.view}, only of "
                f"{listing(other_views)}; download them or choose another --view"
            )
        raise InputError(
            f"{self.data} has no folder {LAYOUTS[0]}/{self.view} with the annotations of "
            "Drive&Act; pass its folder with --data, or see docs/driveact.md for how to get it"
        )

    def _rows(self, folder: Path, kind: str) -> list[Row]:
        path = folder / f"{self.level}.chunks_90{kind}.csv"
        if not path.exists():
            there = sorted(file.name for file in folder.glob("*.csv"))
            raise InputError(f"{path} does not exist; the folder has {listing(there) or 'no CSV'}")
        extra = ("object", "location") if self.level == "objectlevel" else ()
        return read_table(path, COLUMNS + extra)

    def _drafts(self, rows: Iterable[Row], part: Split) -> list[Draft]:
        return [self._draft(row, part) for row in rows]

    def _draft(self, row: Row, part: Split) -> Draft:
        file_id = row.text("file_id")
        run, _, suffix = file_id.rpartition(".")
        if suffix != SUFFIXES[self.view]:
            views = {suffix: view for view, suffix in SUFFIXES.items()}
            raise InputError(
                f"{row.where}: {file_id} belongs to view {views.get(suffix, 'unknown')}, "
                f"not to {self.view}; frame numbers differ by camera, so use the annotation files "
                f"of {self.view}"
            )
        video = f"{self.view}/{file_id}.mp4"
        return Draft(
            clip_id=f"{run}/{row.text('annotation_id')}/{row.text('chunk_id')}",
            video=video,
            path=self.data / video,
            label=self._label(row),
            where=row.where,
            start=row.whole_number_in("frame_start"),
            stop=row.whole_number_in("frame_end"),
            subject=f"vp{row.text('participant_id')}",
            split=part,
        )

    def _label(self, row: Row) -> str:
        if self.target == "triplet":
            return "/".join(row.text(column) for column in TARGETS[:3])
        return row.text(self.target)

    def _outside_splits(
        self, folder: Path, drafts: Sequence[Draft], classes: ClassList
    ) -> list[Draft]:
        """Return the clips of requested classes that the split files do not have."""
        missing = set(classes.names) - {draft.label for draft in drafts}
        if not missing:
            return []
        parts = {draft.subject: draft.split for draft in drafts}
        return [
            replace(draft, split=parts[draft.subject])
            for draft in self._drafts(self._rows(folder, ""), "train")
            if draft.label in missing and draft.subject in parts
        ]


def _check_official(drafts: Sequence[Draft], classes: ClassList | None) -> None:
    official = ClassList(MIDLEVEL, {}, "Drive&Act's 39 midlevel classes")
    for name in classes.names if classes else ():
        if name not in MIDLEVEL:
            raise InputError(
                f'{classes.origin if classes else ""}: class "{name}" is not among '
                f"{official.origin}{nearest_hint(name, MIDLEVEL)}"
            )
    for draft in drafts:
        official.resolve(draft.label, draft.where)
