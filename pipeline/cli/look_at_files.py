"""Guess the flags of lists, OpenLABEL and BORIS, if their files are recognised for sure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.text import listed
from pipeline.sources.base import SPLITS, Dataset
from pipeline.sources.boris import Boris
from pipeline.sources.files import is_visible, visible_entries
from pipeline.sources.lists import Lists
from pipeline.sources.openlabel import OpenLabel
from pipeline.sources.openlabel_file import OpenLabelFile, read_openlabel

Flags = dict[str, tuple[Any, str]]
LIST_SUFFIXES = (".txt", ".csv")
PART = re.compile(rf"(?:^|[^a-z])({'|'.join(SPLITS)})(?:list)?(?![a-z])", re.IGNORECASE)
CLASSES = "classInd.txt"  # of UCF101
LOOKED_AT = 20  # videos of a list that must exist
PROJECT = ".boris"
SOME_FOLDS: dict[str, Any] = {
    "folds": 3,
    "fold": 0,
}  # to read clips before the number of subjects is known


def lists_in(folder: Path) -> Flags | None:
    """Return the flags of lists of paths and labels, which are here or in a folder below.

    None without lists, if two files could be the same list, or if listed videos do not exist.
    """
    folders = [folder, *(entry for entry in visible_entries(folder) if entry.is_dir())]
    for place in folders:
        numbered = _numbered(place)
        if not numbered:
            continue
        files = {f"{part}-list": path for part, path in min(numbered.items())[1].items()}
        if (place / CLASSES).is_file():
            files["classes"] = place / CLASSES
        for root in folders:
            if _exist(root, files):
                flags: Flags = {name: (str(path), "") for name, path in files.items()}
                if len(numbered) > 1:
                    flags["train-list"] = (str(files["train-list"]), _others(numbered))
                return {"data": (str(root), "")} | flags
    return None


def _others(numbered: Mapping[str, Mapping[str, Path]]) -> str:
    return f"one of {listed([lists['train'].name for _, lists in sorted(numbered.items())])}"


def _numbered(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the list of each part, by the number in the names of the lists, if sure."""
    numbered: dict[str, dict[str, Path]] = {}
    twice: set[str] = set()
    for path in visible_entries(folder):
        match = PART.search(path.stem) if path.suffix.casefold() in LIST_SUFFIXES else None
        if match is None or not path.is_file():
            continue
        digits = re.search(r"\d+", path.stem[match.end() :])
        number = digits[0] if digits else ""
        part = match[1].casefold()
        if part in numbered.setdefault(number, {}):
            twice.add(number)
        numbered[number][part] = path
    return {
        number: {part: lists[part] for part in SPLITS if part in lists}
        for number, lists in numbered.items()
        if number not in twice and {"train", "test"} <= lists.keys()
    }


def _exist(root: Path, files: Mapping[str, Path]) -> bool:
    """Tell whether lists can be read, with videos below a folder."""
    options: dict[str, Any] = {name.replace("-", "_"): path for name, path in files.items()}
    try:
        dataset = Lists(data=root, **options).read()
    except InputError:
        return False
    return all(each.path.exists() for each in dataset.annotations[:LOOKED_AT])


def boris_in(path: Path) -> Flags | None:
    """Return the flags of a project of BORIS: the file, or the only one of a folder."""
    projects = [path]
    if path.is_dir():
        projects = [e for e in visible_entries(path) if e.suffix.casefold() == PROJECT]
    if len(projects) != 1 or projects[0].suffix.casefold() != PROJECT:
        return None
    return {"data": (str(projects[0]), "")}


def boris_clips(flags: Flags) -> Dataset:
    """Return the clips of a project of BORIS, in any parts."""
    return Boris(data=Path(flags["data"][0]), **SOME_FOLDS).read()


def openlabel_in(path: Path) -> Flags | None:
    """Return the flags of a folder or file of OpenLABEL, with the first level and stream.

    None if no file is OpenLABEL with actions.
    """
    files = list(_openlabel_files(path))
    if not files:
        return None
    levels = sorted(set().union(*(file.levels() for file in files)))
    streams = sorted(set.intersection(*(set(file.stream_names()) for file in files)))
    for level, stream in product(levels, streams or [""]):
        flags: Flags = {"data": (str(path), "")}
        if len(levels) > 1:
            flags["actions"] = (level, f"one of {listed(levels)}")
        if len(streams) > 1:
            flags["stream"] = (stream, f"one of {listed(streams)}")
        if any(each.path.exists() for each in openlabel_clips(flags).annotations):
            return flags
    raise InputError(
        f"{path} has OpenLABEL files, and none of their videos is there; put them next to the "
        "files, or name the folder that the URIs in the files are relative to."
    )


def openlabel_clips(flags: Flags) -> Dataset:
    """Return the clips of OpenLABEL files, in any parts."""
    values: dict[str, Any] = {
        name: value for name, (value, _) in flags.items() if name in ("actions", "stream")
    }
    return OpenLabel(data=Path(flags["data"][0]), **values, **SOME_FOLDS).read()


def _openlabel_files(path: Path) -> Iterator[OpenLabelFile]:
    for file in [path] if path.is_file() else sorted(path.rglob("*.json")):
        if all(map(is_visible, file.relative_to(path).parts)):
            try:
                read = read_openlabel(file)
            except InputError:
                continue
            if read is not None:
                yield read
