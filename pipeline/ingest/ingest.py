"""Import features from other tools as a store: labels, checks, key, and rows unit by unit.

`prepare_import` reads everything once in blocks, and refuses invalid input before anything is
written; `import_store` then writes the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_arrays import ClipArray, many_clips, one_clip
from featstore.exchange.npy_folder import DESCRIPTION, STEP_FILES, TABLE, Exported, read_exported
from featstore.format import schema
from featstore.format.codecs import Codec
from featstore.format.layout import Layout, default_chunk_rows
from featstore.keys import store_key
from featstore.manage.catalogue import remember_last
from featstore.manage.provenance import write_provenance
from featstore.text import of_cell
from featstore.writing.destinations import check_room, store_bytes
from featstore.writing.locks import writer_lock
from pipeline.ingest.content import check_shapes, read_clip, rounding, shortened
from pipeline.ingest.files import ClipFile, files_of, refuse_unlisted
from pipeline.ingest.plan import Imported, ImportedClip, ImportOptions, configuration
from pipeline.sources.assemble import assemble, part_name
from pipeline.sources.base import SPLITS, Dataset
from pipeline.sources.columns import check_interval_columns, unused_columns, with_column
from pipeline.sources.draft import Draft
from pipeline.sources.labels import ClassList, read_classes
from pipeline.sources.names import normal
from pipeline.sources.rows import Row, read_table
from pipeline.system.progress import Progress
from pipeline.types import Log

COLUMNS = (
    "file", "clip_id", "video", "label", "subject", "split", "start", "stop", "steps", "first",
    "status",
)  # fmt: skip


def prepare_import(options: ImportOptions, log: Log) -> Imported:
    """Read and check labels and arrays, and compute the key.

    Raises
    ------
    InputError
    """
    exported = read_exported(options.source)
    own_table = exported is not None and options.labels.resolve() == (
        options.source.resolve() / TABLE
    )
    # Names in an exported table are exact; a spreadsheet may add blanks around names.
    rows = read_table(options.labels, ("label", "split"), strip=not own_table)
    if own_table and exported is not None and exported.escaped:
        rows = [replace(row, cells={k: of_cell(v) for k, v in row.cells.items()}) for row in rows]
    rows = [with_column(row, "stop", "end") for row in rows]
    columns = rows[0].cells.keys()
    check_interval_columns(options.labels, columns, "stop")
    files, arrays, notes = _arrays(options, rows, exported)
    if options.source.is_file():
        arrays = [shortened(row, array) for row, array in zip(rows, arrays, strict=True)]
    check_shapes(rows, arrays)
    dataset = _dataset(options, rows, files, exported, own_table=own_table)
    clips = []
    with Progress("reading", len(rows), "clips", log) as progress:
        for annotation, row, file, array in zip(
            dataset.annotations, rows, files, arrays, strict=True
        ):
            clips.append(read_clip(annotation, row, file, array, exported, options.fps))
            progress.advance(1)
    clips.sort(key=lambda c: (c.annotation.video, c.start, c.stop, c.annotation.clip_id))
    half = all(array.dtype == "float16" for array in arrays)
    codec = Codec(options.dtype or ("float16" if half else "float32"), options.compression)
    key = store_key(
        configuration(codec),
        dataset.classes,
        (clip.key() for clip in clips),
        subjects_known=dataset.subjects_known,
    )
    notes += [*unused_columns(columns, COLUMNS, ("subject",)), *rounding(clips)]
    return Imported(options, dataset, clips, codec, key, notes)


def import_store(imported: Imported, log: Log) -> dict[str, float] | None:
    """Write the store atomically.

    Returns
    -------
    dict or None
        The float16 rounding errors, if the arrays were more precise.

    Raises
    ------
    BusyError
        If another process is importing the same store.
    InputError
        If a file was changed since it was read, a value does not fit into float16, or the disk has
        too little space.
    """
    from featstore.writing.staging import finish

    options = imported.options
    options.store.mkdir(parents=True, exist_ok=True)
    with writer_lock(options.store, imported.key):
        finish(imported.path)
        if imported.there:  # the previous holder of the lock wrote it
            return None
        began = time.perf_counter()
        error = _write(imported, log)
        facts: dict[str, Any] = {
            "source": str(options.source.resolve()),
            "labels": str(options.labels.resolve()),
            **({"float16_error": error} if error else {}),
        }
        write_provenance(imported.path, {"total": time.perf_counter() - began}, **facts)
        remember_last(options.store, imported.path)
    return error


def _write(imported: Imported, log: Log) -> dict[str, float] | None:
    from featstore.format.contents import Contents
    from featstore.writing.writer import StoreWriter

    clips = imported.clips
    sizes = np.array([clip.array.steps for clip in clips], np.int64)
    dim = clips[0].array.dim
    layout = Layout(sizes, dim, default_chunk_rows(dim, int(sizes.sum())))
    needed = store_bytes(layout.steps, layout.dim, imported.codec.item_size)
    # HDF5 needs twice the space, because it is packed from finished files.
    check_room(imported.options.store, needed * (2 if imported.options.format == "hdf5" else 1))
    attributes = imported.attributes() | {"steps": layout.steps, "dim": dim, "numerics": {}}
    contents = Contents(layout, imported.columns(), attributes, imported.codec)
    writer = StoreWriter(imported.path, contents)
    units = layout.units()
    try:
        with Progress("writing", len(units), "units", log) as progress:
            progress.advance(len(writer.done))
            for unit in writer.missing:
                writer.write(unit, _rows(clips, layout, *units[unit]))
                progress.advance(1)
        writer.seal()
    except BaseException:
        writer.discard()
        raise
    # float16 arrays are stored exactly.
    return None if all(c.array.dtype == "float16" for c in clips) else writer.float16_error()


def _rows(
    clips: Sequence[ImportedClip], layout: Layout, first: int, last: int
) -> NDArray[np.float32]:
    """Return the rows of one unit."""
    parts = []
    for number in layout.clips_of(first, last):
        offset, array = int(layout.offsets[number]), clips[number].array
        parts.append(array.read(max(0, first - offset), min(array.steps, last - offset)))
    return np.concatenate(parts)


def _arrays(
    options: ImportOptions, rows: Sequence[Row], exported: Exported | None
) -> tuple[list[ClipFile], list[ClipArray], list[str]]:
    """Return the file and array of every row, and notes on them."""
    source = options.source
    if source.is_file():
        arrays = many_clips(source)
        if len(arrays) != len(rows):
            raise InputError(
                f"{source} holds {len(arrays)} clips, but {options.labels} has {len(rows)} rows; "
                "write one row per clip, in the order of the array."
            )
        named = "clip_id" in rows[0].cells
        width = len(str(len(rows)))
        ids = [row.text("clip_id") if named else f"{n:0{width}}" for n, row in enumerate(rows)]
        return [ClipFile(clip_id, source, None) for clip_id in ids], arrays, []
    if not source.is_dir():
        raise InputError(f"{source} does not exist; pass a folder of .npy files, or one .npy.")
    if not {"file", "clip_id", "video"} & rows[0].cells.keys():
        raise InputError(
            f"{options.labels} does not name the files of clips; add a column file, clip_id or "
            "video."
        )
    files, unlisted = files_of(source, rows, options.suffix)
    if exported:
        unlisted = [name for name in unlisted if name not in STEP_FILES]
    if unlisted and not options.allow_unlisted:
        refuse_unlisted(options.labels, unlisted)
    notes = [f"skipped: {len(unlisted)} files without a row"] if unlisted else []
    return files, [one_clip(file.path) for file in files], notes


def _dataset(
    options: ImportOptions,
    rows: Sequence[Row],
    files: Sequence[ClipFile],
    exported: Exported | None,
    *,
    own_table: bool,
) -> Dataset:
    """Return the data set of the labels, checked like that of every source."""
    classes = read_classes(options.classes) if options.classes else None
    title = options.source.resolve().name.removesuffix(".npy")
    if exported is not None:
        title = exported.attributes["title"]
        # Integer labels are not allowed: the table holds names.
        names = tuple(map(normal, exported.classes))
        classes = classes or ClassList(names, {}, str(options.source / DESCRIPTION))
    columns = rows[0].cells.keys()
    intervals = "start" in columns
    drafts = [
        Draft(
            clip_id=file.clip_id,
            video=row.text("video") if "video" in columns else file.clip_id,
            path=file.path,
            label=row.text("label"),
            where=row.where,
            start=row.whole_number_in("start") if intervals else None,
            stop=row.whole_number_in("stop") if intervals else None,
            subject=row.text("subject") if "subject" in columns else None,
            split=part_name(row.text("split"), row.where),
        )
        for row, file in zip(rows, files, strict=True)
    ]
    return assemble(drafts, title=options.name or title, classes=classes, any_character=own_table)


def describe_import(imported: Imported) -> Iterator[str]:
    """Yield a description of the imported data, line by line."""
    dataset, clips = imported.dataset, imported.clips
    dim, steps = clips[0].array.dim, [clip.array.steps for clip in clips]
    span = f"{min(steps)} to {max(steps)}" if min(steps) < max(steps) else str(steps[0])
    yield (
        f"{dataset.title}: {len(clips)} clips of {len(dataset.classes)} classes, {span} steps x "
        f"{dim}, {imported.codec.dtype}"
    )
    for part in SPLITS:
        annotations = [clip.annotation for clip in clips if clip.annotation.split == part]
        subjects = len({annotation.subject for annotation in annotations})
        subject_count = f"  {subjects} subjects" if dataset.subjects_known else ""
        yield f"  {part:5} {len(annotations):6} clips{subject_count}"
    yield from (*dataset.notes, *imported.notes)
    failed = sum(clip.status != schema.STATUS_OK for clip in clips)
    if failed:
        yield f"{failed} clips are marked as failed; training skips them"
