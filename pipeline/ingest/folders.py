"""List clips in class folders: one file per clip, or a folder with one file per step.

``CLASS/SEQUENCE/FRAME.npy`` is what the many copies of N. Renotte's "Action Detection for Sign
Language" record, whose folder is ``MP_Data``: https://github.com/nicknochnack/
ActionDetectionforSignLanguage, section "Setup Folders for Collection".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featstore.errors import InputError
from featstore.exchange.npy_arrays import ClipArray
from featstore.text import count_of
from pipeline.ingest.clip_file import NPY, ClipFile, even_times, steps_in
from pipeline.ingest.files import COMPANIONS, TIMES
from pipeline.ingest.plan import ImportOptions, ListedClip, Listing
from pipeline.sources.assemble import chosen_fold
from pipeline.sources.base import Split
from pipeline.sources.draft import Draft
from pipeline.sources.files import group_of, visible_entries
from pipeline.sources.folders import class_folders
from pipeline.sources.labels import listing

SHOWN = 5


def list_folders(options: ImportOptions) -> Listing:
    """Return the clips in ``SOURCE/CLASS/`` or ``SOURCE/{train,val,test}/CLASS/``.

    A clip is ``NAME.npy`` of shape (steps, dim), or a folder ``NAME`` with one file of shape
    (dim,) per step. Folders without files are skipped.

    Raises
    ------
    InputError
        If there is no clip, or a file is no step or clip.
    """
    source = options.source
    if not any(entry.is_dir() for entry in visible_entries(source)):
        raise InputError(
            f"{source} has no class folders; pass --labels FILE with one row per clip."
        )
    clips: list[ListedClip] = []
    empty: list[str] = []
    skipped: list[str] = []
    for split, folder in class_folders(source, chosen_fold(options.folds, options.fold)):
        for entry in visible_entries(folder):
            if entry.is_dir() and not visible_entries(entry):
                empty.append(entry.relative_to(source).as_posix())
            elif not entry.is_dir() and entry.suffix.casefold() != NPY:
                skipped.append(entry.relative_to(source).as_posix())
            elif not entry.stem.endswith(COMPANIONS):
                clips.append(_clip(options, entry, split))
    if not clips:
        raise InputError(
            f"{source} holds no clip as CLASS/NAME.npy or CLASS/NAME/STEP.npy; pass a folder that "
            "does, or --labels FILE for other folders."
        )
    notes = [f"Skipped, empty: {listing(empty, SHOWN)}."] if empty else []
    if skipped:
        notes.append(f"Skipped, not {NPY}: {listing(skipped, SHOWN)}.")
    gaps = [
        clip.draft.clip_id for clip in clips if len(clip.frame) <= clip.frame[-1] - clip.frame[0]
    ]
    if gaps:
        notes.append(
            f"Step numbers have gaps in {count_of(len(gaps), 'clip')}: {listing(gaps, SHOWN)}."
        )
    return Listing(source.resolve().name, clips, notes=notes)


def _clip(options: ImportOptions, path: Path, split: Split | None) -> ListedClip:
    name = path.relative_to(options.source).as_posix().removesuffix(NPY)
    array: ClipArray
    if path.is_dir():
        array, numbers = steps_in(path)
        frame = np.array(numbers, np.int64)
        time = even_times(frame, options.fps)
    else:
        file = ClipFile(name, path, _times_beside(path))
        array = file.array()
        frame = np.arange(array.steps)
        time = file.seconds(array.steps, options.fps)
    draft = Draft(
        clip_id=name,
        video=name,
        path=path,
        label=path.parent.name,
        where=str(path),
        start=int(frame[0]),
        stop=int(frame[-1]) + 1,
        subject=group_of(name),
        split=split,
    )
    return ListedClip(draft, array, frame, time)


def _times_beside(path: Path) -> Path | None:
    """Return the file of times that video_features writes next to a clip."""
    for base in (path.stem, path.stem.rpartition("_")[0]):
        times = path.with_name(f"{base}{TIMES}{NPY}")
        if times.is_file():
            return times
    return None
