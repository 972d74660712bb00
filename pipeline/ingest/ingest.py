"""Import features from other tools as a store: labels, checks, key, and rows unit by unit.

`prepare_import` reads everything once in blocks, and refuses invalid input before anything is
written; `import_store` then writes the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.format import schema
from featstore.format.codecs import Codec
from featstore.format.layout import Layout, default_chunk_rows
from featstore.keys import store_key
from featstore.manage.catalogue import remember_last
from featstore.manage.provenance import write_provenance
from featstore.writing.destinations import check_room, store_bytes
from featstore.writing.locks import writer_lock
from pipeline.ingest.content import check_dims, read_clip, rounding
from pipeline.ingest.layouts import list_clips
from pipeline.ingest.plan import Imported, ImportedClip, ImportOptions, configuration
from pipeline.sources.assemble import assemble, chosen_fold
from pipeline.sources.base import SPLITS
from pipeline.sources.labels import read_classes
from pipeline.sources.subjects import name_subjects
from pipeline.system.progress import Progress
from pipeline.types import Log


def prepare_import(options: ImportOptions, log: Log) -> Imported:
    """Read and check labels and arrays, and compute the key.

    Raises
    ------
    InputError
    """
    fold = chosen_fold(options.folds, options.fold)
    listing = list_clips(options)
    arrays = [listed.array for listed in listing.clips]
    check_dims(arrays)
    drafts, subjects = name_subjects([clip.draft for clip in listing.clips], options.subject)
    dataset = assemble(
        drafts,
        title=options.name or listing.title,
        classes=read_classes(options.classes) if options.classes else listing.classes,
        fold=fold,
        notes=subjects,
        any_character=listing.any_character,
    )
    clips = []
    with Progress("reading", len(arrays), "clips", log) as progress:
        for annotation, listed in zip(dataset.annotations, listing.clips, strict=True):
            clips.append(read_clip(annotation, listed))
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
    return Imported(options, dataset, clips, codec, key, [*listing.notes, *rounding(clips)])


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
            **({"labels": str(options.labels.resolve())} if options.labels else {}),
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
