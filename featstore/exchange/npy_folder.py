"""Export and import a folder of plain ``.npy`` files, one per clip.

::

    clips.csv       one row per clip: file, clip_id, label, subject, split, video, start, stop,
                    steps, status, first
    features/*.npy  one array (steps, dim) per clip
    frame.npy       frame of every step of all clips; those of a clip begin at row ``first``
    time.npy        time of every step in seconds, likewise
    store.json      class list and root attributes of the store
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_arrays import open_npy
from featstore.format.contents import Contents
from featstore.format.files import write_text
from featstore.json_text import read_object
from featstore.text import as_cell

VERSION: Final = 1
ESCAPED: Final = 2  # the version of a folder with a table in which `as_cell` changed a cell
VERSION_KEY: Final = "featstore_export"
TABLE, DESCRIPTION = "clips.csv", "store.json"
STEP_FILES: Final = {"frame": "frame.npy", "time": "time.npy"}
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_NAME_LENGTH = 100


def file_names(clip_ids: list[str]) -> list[str]:
    """Return a portable file name for every clip, unique even if case is ignored.

    Examples
    --------
    >>> file_names(["run/1", "run_1", "é"])
    ['run_1.npy', 'run_1-2.npy', 'clip.npy']
    """
    taken: dict[str, int] = {}
    names = []
    for clip_id in clip_ids:
        stem = _UNSAFE.sub("_", clip_id)[:_NAME_LENGTH].strip("._") or "clip"
        name, number = stem, taken.get(stem.casefold(), 1)
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken[stem.casefold()] = number
        taken.setdefault(name.casefold(), 1)
        names.append(f"{name}.npy")
    return names


def write_arrays(folder: Path, contents: Contents, chunks: Iterable[NDArray[Any]]) -> None:
    """Write a store as a folder of ``.npy`` files.

    Parameters
    ----------
    folder : Path
        Must not exist.
    contents : Contents
    chunks : iterable of ndarray, shape (chunk_rows, dim)
        The features, unit by unit.
    """
    (folder / "features").mkdir(parents=True)
    names = [f"features/{name}" for name in file_names(contents.columns["clip_id"].tolist())]
    layout = contents.layout
    for (first, last), chunk in zip(layout.units(), chunks, strict=True):
        for clip in layout.clips_of(first, last):
            begin, end = layout.offsets[clip : clip + 2].tolist()
            # A clip that spans several chunks is written in parts.
            with (folder / names[clip]).open("ab") as stream:
                if begin >= first:
                    _write_header(stream, contents, end - begin)
                stream.write(chunk[max(0, begin - first) : end - first].data)
    for column, file in STEP_FILES.items():
        np.save(folder / file, contents.columns[column])
    version = _write_table(folder / TABLE, contents, names)
    classes = contents.columns["label_name"].tolist()
    description = {VERSION_KEY: version, "classes": classes, "attributes": contents.attributes}
    text = json.dumps(description, indent=2, ensure_ascii=False)
    write_text(folder / DESCRIPTION, text + "\n")
    os.sync()  # one call for thousands of small files


def _write_header(stream: BinaryIO, contents: Contents, steps: int) -> None:
    dtype = np.dtype(contents.codec.dtype).newbyteorder("<")
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (steps, contents.layout.dim),
    }
    np.lib.format.write_array_header_1_0(stream, header)


def _write_table(path: Path, contents: Contents, names: list[str]) -> int:
    """Write the table, and return its version."""
    columns, subjects_known = contents.columns, contents.attributes["subjects_known"]

    def named(column: str) -> list[str]:
        names = [*columns[f"{column}_name"].tolist(), ""]  # -1, no label, is the last
        return [names[position] for position in columns[column].tolist()]

    table: dict[str, list[Any]] = {
        "file": names,
        "clip_id": columns["clip_id"].tolist(),
        "label": named("label"),
        # Without the column, an import has no subjects, like this store.
        **({"subject": named("subject")} if subjects_known else {}),
        "split": named("split"),
        "video": named("video"),
        **{name: columns[name].tolist() for name in ("start", "stop")},
        "steps": columns["row_size"].tolist(),
        "status": columns["status"].tolist(),
        "first": contents.layout.offsets[:-1].tolist(),
    }
    plain = list(zip(*table.values(), strict=True))
    rows = [[as_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in plain]
    with path.open("w", encoding="utf-8", newline="") as stream:
        # Quoted, because a carriage return in a name would end the row.
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(table)
        writer.writerows(rows)
    return VERSION if list(map(tuple, rows)) == plain else ESCAPED


@dataclass(frozen=True, slots=True)
class Exported:
    """The content of a folder from `write_arrays`, except its table.

    Attributes
    ----------
    classes : tuple of str
    attributes : mapping
        Root attributes of the exported store.
    frame, time : ndarray, shape (steps,)
        Of all clips; mapped.
    escaped : bool
        Whether `featstore.text.as_cell` escaped the cells of its table.
    """

    classes: tuple[str, ...]
    attributes: Mapping[str, Any]
    frame: NDArray[Any]
    time: NDArray[Any]
    escaped: bool


def read_exported(folder: Path) -> Exported | None:
    """Return the content of a folder from `write_arrays`; None for other folders.

    Raises
    ------
    InputError
        If a part is missing, damaged, or of a newer featstore.
    """
    path = folder / DESCRIPTION
    try:
        content = read_object(path)
        version = content[VERSION_KEY]
        classes, attributes = tuple(map(str, content["classes"])), dict(content["attributes"])
        if not isinstance(attributes["title"], str):
            raise TypeError(f"the title is {attributes['title']!r}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} was not written by `featstore export`, or was changed ({error!r}); export "
            "again, or remove it to import the arrays without it."
        ) from None
    if version not in (VERSION, ESCAPED):
        raise InputError(
            f"{path} has version {version}, but this featstore reads versions up to {ESCAPED}; "
            "upgrade featstore."
        )
    frame, time = (open_npy(folder / name) for name in STEP_FILES.values())
    return Exported(classes, attributes, frame, time, version == ESCAPED)
