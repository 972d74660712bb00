"""List the clips of a table: one ``.npy`` per row, or one array of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_arrays import ClipArray, FileArray, many_clips
from featstore.exchange.npy_folder import DESCRIPTION, STEP_FILES, TABLE, Exported, read_exported
from featstore.format import schema
from featstore.text import of_cell
from pipeline.ingest.clip_file import NPY, ClipFile
from pipeline.ingest.files import Named, find_files, named_by_id, skip_unlisted, stems_below
from pipeline.ingest.plan import ImportOptions, ListedClip, Listing
from pipeline.sources.assemble import part_name
from pipeline.sources.columns import check_interval_columns, unused_columns, with_column
from pipeline.sources.draft import Draft
from pipeline.sources.files import locate
from pipeline.sources.labels import ClassList
from pipeline.sources.names import normal
from pipeline.sources.rows import Row, read_table

COLUMNS = (
    "file", "clip_id", "video", "label", "subject", "split", "start", "stop", "steps", "first",
    "status",
)  # fmt: skip


def list_table(options: ImportOptions, labels: Path) -> Listing:
    """Return the clips of a table.

    Raises
    ------
    InputError
    """
    exported = read_exported(options.source)
    own_table = exported is not None and labels.resolve() == options.source.resolve() / TABLE
    # Names in an exported table are exact; a spreadsheet may add blanks around names.
    required = ("label", "split") if options.folds is None else ("label",)
    rows = read_table(labels, required, strip=not own_table)
    if own_table and exported is not None and exported.escaped:
        rows = [replace(row, cells={k: of_cell(v) for k, v in row.cells.items()}) for row in rows]
    rows = [with_column(row, "stop", "end") for row in rows]
    columns = rows[0].cells.keys()
    check_interval_columns(labels, columns, "stop")
    notes: list[str] = []
    if options.source.is_file():
        found = _all_in_one(options.source, labels, rows)
    else:
        found, notes = _one_each(options, labels, rows, exported)
    clips = [_clip(row, file, array, exported, options.fps) for row, file, array in found]
    notes += unused_columns(columns, COLUMNS, ("subject",))
    title = options.source.resolve().name.removesuffix(NPY)
    if exported is None:
        return Listing(title, clips, notes=notes)
    # Integer labels are not allowed: the table holds names.
    names = tuple(map(normal, exported.classes))
    classes = ClassList(names, {}, str(options.source / DESCRIPTION))
    return Listing(exported.attributes["title"], clips, classes, notes, any_character=own_table)


def _all_in_one(
    source: Path, labels: Path, rows: Sequence[Row]
) -> list[tuple[Row, ClipFile, ClipArray]]:
    """Return every row with its part of an array of all clips."""
    arrays = many_clips(source)
    if len(arrays) != len(rows):
        raise InputError(
            f"{source} holds {len(arrays)} clips, but {labels} has {len(rows)} rows; "
            "write one row per clip, in the order of the array."
        )
    named = "clip_id" in rows[0].cells
    width = len(str(len(rows)))
    ids = [row.text("clip_id") if named else f"{n:0{width}}" for n, row in enumerate(rows)]
    return [
        (row, ClipFile(clip_id, source, None), _shortened(row, array))
        for row, clip_id, array in zip(rows, ids, arrays, strict=True)
    ]


def _one_each(
    options: ImportOptions, labels: Path, rows: Sequence[Row], exported: Exported | None
) -> tuple[list[tuple[Row, ClipFile, ClipArray]], list[str]]:
    """Return every row with its file, and notes on what is skipped."""
    source = options.source
    if not source.is_dir():
        raise InputError(f"{source} does not exist; pass a folder of .npy files, or one .npy.")
    if not {"file", "clip_id", "video"} & rows[0].cells.keys():
        raise InputError(
            f"{labels} does not name the files of clips; add a column file, clip_id or video."
        )
    stems = stems_below(source)
    named, others = _named(source, rows, stems, options.suffix)
    files, notes = find_files(source, stems, named, allow_missing=options.allow_missing)
    listed = {*others, *(clip.stem for clip in named), *(STEP_FILES if exported else ())}
    notes += skip_unlisted(labels, stems, listed, allow=options.allow_unlisted)
    found = [(row, file, file.array()) for row, file in zip(rows, files, strict=True) if file]
    for row, _, array in found:
        if "steps" in row.cells and row.whole_number_in("steps") != array.steps:
            raise InputError(
                f"{row.where}: steps is {row.cells['steps']}, but {array.path} has {array.steps}; "
                "correct the table or the file."
            )
    return found, notes


def _named(
    source: Path, rows: Sequence[Row], stems: dict[str, Path], suffix: str | None
) -> tuple[list[Named], list[str]]:
    """Return the file's name of every row, by column ``file``, ``clip_id`` or ``video``."""
    if "file" not in rows[0].cells:
        column = "clip_id" if "clip_id" in rows[0].cells else "video"
        ids = [(row.where, row.text(column)) for row in rows]
        return named_by_id(source, stems, ids, suffix)
    if suffix is not None:
        raise InputError(
            f"--suffix is {suffix!r}, but {rows[0].file} already has a column file; remove one "
            "of the two."
        )
    named = []
    for row in rows:
        # Make an absolute path relative to the folder.
        stem = locate(source, row.text("file"))[0].removesuffix(NPY)
        clip_id = row.text("clip_id") if "clip_id" in row.cells else stem
        named.append(Named(row.where, clip_id, stem))
    return named, []


def _shortened(row: Row, array: FileArray) -> FileArray:
    """Return a clip of an array of all clips without its padding steps."""
    if "steps" not in row.cells:
        return array
    steps = row.whole_number_in("steps")
    if not 1 <= steps <= array.steps:
        raise InputError(
            f"{row.where}: steps is {steps}, but the clips of {array.path} have 1 to {array.steps};"
            " correct it."
        )
    return replace(array, stop=steps)


def _clip(
    row: Row,
    file: ClipFile,
    array: ClipArray,
    exported: Exported | None,
    fps: Fraction | None,
) -> ListedClip:
    columns = row.cells.keys()
    intervals = "start" in columns
    draft = Draft(
        clip_id=file.clip_id,
        video=row.text("video") if "video" in columns else file.clip_id,
        path=file.path,
        label=row.text("label"),
        where=row.where,
        start=row.whole_number_in("start") if intervals else None,
        stop=row.whole_number_in("stop") if intervals else None,
        subject=row.text("subject") if "subject" in columns else None,
        split=part_name(row.text("split"), row.where) if "split" in columns else None,
    )
    if exported is not None and "first" in columns:
        frame, time = _exported_steps(row, array.steps, exported)
    else:
        start, stop = int(draft.start or 0), int(draft.stop or array.steps)
        frame = start + np.arange(array.steps) * (stop - start) // array.steps
        time = file.seconds(array.steps, fps)
    return ListedClip(draft, array, frame, time, _status(row))


def _exported_steps(
    row: Row, steps: int, exported: Exported
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the frame and time of every step, as exported."""
    first = row.whole_number_in("first")
    frame, time = (column[first : first + steps] for column in (exported.frame, exported.time))
    if first < 0 or len(frame) != steps or len(time) != steps:
        raise InputError(
            f"{row.where}: first is {first}, but frame.npy and time.npy are shorter; export "
            "again, or remove the column first."
        )
    return np.array(frame, np.int64), np.array(time, np.float64)


def _status(row: Row) -> int:
    status = row.whole_number_in("status") if "status" in row.cells else schema.STATUS_OK
    if status not in (schema.STATUS_OK, schema.STATUS_FAILED):
        raise InputError(
            f"{row.where}: status is {status}; write {schema.STATUS_OK} for a complete clip or "
            f"{schema.STATUS_FAILED} for a failed one."
        )
    return status
