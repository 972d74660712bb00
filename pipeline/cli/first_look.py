"""Look at a folder of videos, or a table, and guess the flags of its build."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.text import count_of, listed
from pipeline.cli.look_at_files import (
    boris_clips,
    boris_in,
    lists_in,
    openlabel_clips,
    openlabel_in,
)
from pipeline.sources import sources
from pipeline.sources.base import SPLITS, Dataset
from pipeline.sources.driveact import LAYOUTS
from pipeline.sources.files import VIDEO_SUFFIXES, is_image_folder, visible_entries
from pipeline.sources.rows import read_table

LOOKED_AT = 3  # videos that are opened
MOST_FOLDS = 5
LEAST_FOLDS = 3
RATE = 10  # frames a second that are enough to see what people do
# Words before the number of a person in file names, and what is between them.
PERSON = re.compile(
    r"(person|people|subject|subj|speaker|actor|signer|participant|driver|user|vp)([-_ ]?)\d", re.I
)
NTU = r"P(\d{3})"
PATHS = ("data", "train-list", "val-list", "test-list", "classes")
DEMO_WEIGHTS = "weights/tf_efficientnet_lite0.safetensors"


@dataclass
class Look:
    """What there is, as flags of `featstore build`.

    Attributes
    ----------
    flags : dict
        Value and comment of each flag, by its name without dashes.
    dataset : Dataset
        The clips that these flags read.
    videos : str
        Size and rate of the videos that were opened.
    """

    flags: dict[str, tuple[Any, str]]
    dataset: Dataset
    videos: str = ""

    @property
    def summary(self) -> str:
        """Return what was found, in one sentence."""
        data = self.dataset
        clips = count_of(len(data.annotations), "clip")
        classes = count_of(len(data.classes), "class", "classes")
        videos = count_of(len({each.video for each in data.annotations}), "video")
        return f"{clips} of {classes} in {videos}{self.videos}."


def look_at(path: Path) -> Look:
    """Return the flags that read a folder or a table.

    Raises
    ------
    InputError
        If it holds nothing that a source reads, or the source refuses it.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; name a folder of videos, or a table.")
    look = _source(path)
    _look_at_videos(look)
    weights = path / DEMO_WEIGHTS
    if weights.is_file():
        look.flags["backbone"] = ("timm:tf_efficientnet_lite0", "")
        look.flags["weights"] = (str(weights), "")
    return look


def _source(path: Path) -> Look:
    if flags := boris_in(path):
        return _by_subject("boris", flags, boris_clips(flags))
    if path.suffix.casefold() == ".json" and path.is_file() and (flags := openlabel_in(path)):
        return _by_subject("openlabel", flags, openlabel_clips(flags))
    if path.is_file():
        return _table(path)
    if any((path / layout).is_dir() for layout in LAYOUTS):
        data = {"data": (str(path), "")}
        return _read("driveact", data | {"split": (0, "the official splits: 0, 1, 2")})
    if flags := lists_in(path):
        return _read("lists", flags)
    entries = visible_entries(path)
    if any(entry.name in SPLITS and entry.is_dir() for entry in entries):
        return _read("folders", {"data": (str(path), "")})
    tables = [entry for entry in entries if entry.suffix.casefold() == ".csv" and _is_table(entry)]
    if len(tables) == 1:
        return _table(tables[0])
    if tables:
        names = listed([table.name for table in tables])
        raise InputError(f"{path} has several tables ({names}); name one of them.")
    if flags := openlabel_in(path):
        return _by_subject("openlabel", flags, openlabel_clips(flags))
    classes = [entry for entry in entries if entry.is_dir() and any(_videos(entry))]
    if len(classes) > 1:
        return _with_folds("folders", path, [video for each in classes for video in _videos(each)])
    raise InputError(_nothing(path, classes, list(_videos(path))))


def _table(path: Path) -> Look:
    rows = read_table(path, ("video", "label"))
    columns = rows[0].cells.keys()
    flags: dict[str, tuple[Any, str]] = {"data": (str(path), "")}
    if {"start", "end", "stop"} & columns:
        unit = "seconds" if any("." in row.cells.get("start", "") for row in rows) else "frames"
        flags["unit"] = (unit, "of start and end: frames or seconds")
    if "split" in columns:
        return _read("table", flags)
    if "subject" in columns:
        return _folds("table", flags, len({row.text("subject") for row in rows}), known=True)
    return _folds("table", flags, len({row.text("video") for row in rows}), known=False)


def _by_subject(source: str, flags: dict[str, tuple[Any, str]], clips: Dataset) -> Look:
    """Return the look at clips that folds by subject split."""
    subjects = {each.subject or each.video for each in clips.annotations}
    return _folds(source, flags, len(subjects), known=clips.subjects_known)


def _with_folds(source: str, path: Path, videos: Sequence[Path]) -> Look:
    flags: dict[str, tuple[Any, str]] = {"data": (str(path), "")}
    names = [video.relative_to(path).as_posix() for video in videos]
    for pattern in _subject_patterns(names[0]):
        matches = [re.search(pattern, name) for name in names]
        subjects = {match[1] for match in matches if match}
        if all(matches) and len(subjects) >= LEAST_FOLDS:
            flags["subject"] = (pattern, f"guessed from the names: {len(subjects)} subjects")
            return _folds(source, flags, len(subjects), known=True)
    return _folds(source, flags, len(videos), known=False)


def _subject_patterns(name: str) -> Iterator[str]:
    """Yield expressions for the subject in names such as this one."""
    if word := PERSON.search(name):
        yield rf"{word[1]}{word[2]}(\d+)"
    yield NTU


def _folds(source: str, flags: dict[str, tuple[Any, str]], count: int, *, known: bool) -> Look:
    """Split by subject, or by video where no subject is known."""
    folds = max(LEAST_FOLDS, min(MOST_FOLDS, count))
    who = "subject" if known else "video: if people are in several, add a column subject"
    if not known and source == "folders":
        who = r"video: if people are in several, give subject: 'person(\d+)' as names have it"
    flags["folds"] = (folds, f"parts by {who}")
    flags["fold"] = (0, "this part is test, the next one val")
    return _read(source, flags)


def _read(name: str, flags: dict[str, tuple[Any, str]]) -> Look:
    """Return a look whose flags the source accepts."""
    values = {
        name.replace("-", "_"): Path(value) if name in PATHS else value
        for name, (value, _) in flags.items()
    }
    return Look({"source": (name, "")} | flags, sources()[name](**values).read())


def _look_at_videos(look: Look) -> None:
    """Open a few videos, for their size, rate and colour."""
    from pipeline.video.grey import looks_grey
    from pipeline.video.index import read_index

    every = sorted({each.path for each in look.dataset.annotations})
    if any(path.is_dir() for path in every):
        look.flags["image-fps"] = (25, "frames a second of the folders of images: correct it")
        return
    some = [path for path in every if path.is_file()][:: max(1, len(every) // LOOKED_AT)][
        :LOOKED_AT
    ]
    opened = [(path, read_index(path)) for path in some]
    if not opened:
        return
    _, first = opened[0]
    rate = float(first.rate or 0)
    look.videos = f"; {some[0].name} has {first.width}x{first.height} pixels, {rate:.4g} fps"
    if look.dataset.pixels != "luma" and all(looks_grey(*each) for each in opened):
        look.flags["pixels"] = ("luma", "the videos have no colour")
    if look.dataset.fps is None and rate > RATE:
        look.flags["fps"] = (RATE, f"of {rate:.4g} in the videos; `all` for every frame")


def _videos(folder: Path) -> Iterator[Path]:
    for entry in visible_entries(folder):
        if entry.suffix.casefold() in VIDEO_SUFFIXES or is_image_folder(entry):
            yield entry


def _is_table(path: Path) -> bool:
    try:
        read_table(path, ("video", "label"))
    except InputError:
        return False
    return True


def _nothing(path: Path, classes: Sequence[Path], videos: Sequence[Path]) -> str:
    """Return why a folder cannot be read, and what to do."""
    if len(classes) == 1 and not videos:
        return (
            f"{path} has videos in one folder only, {classes[0].name}; name the folder that holds "
            "one folder for each class."
        )
    if videos:
        return (
            f"{path} holds {count_of(len(videos), 'video')} and no labels; move the videos of each "
            "class into a folder of its name, or write a table: video,start,end,label,subject."
        )
    return f"{path} holds no videos, no class folders and no table; name another folder."
