"""Draws videos that match annotation files of Drive&Act, as many and as long as the real ones."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from featstore.errors import InputError
from pipeline.demo.activities import ACTIVITIES, Take
from pipeline.demo.draw import VIEW, refuse_taken
from pipeline.demo.film import check_workers, film_all
from pipeline.demo.people import PARTICIPANTS
from pipeline.demo.schedule import Video
from pipeline.sources.driveact import COLUMNS, LAYOUTS, LEVELS, MIDLEVEL, SUFFIXES
from pipeline.sources.labels import ClassList, listing
from pipeline.sources.rows import Row, read_table

TAIL = 10  # frames after the last annotated one
HOLD = 6  # five pictures a second: what a million frames allow
RECORD = "drawn.json"

Tables = dict[str, list[Row]]  # name of the file to its rows
_Spans = dict[str, tuple[int, int, str]]  # number of an annotation to its frames and label


def draw_matching(
    directory: Path,
    annotations: Path,
    *,
    seed: int = 0,
    workers: int | None = None,
    log: Callable[[str], None],
) -> None:
    """Draw a video for each one that annotation files of Drive&Act name, at its full length.

    What cannot be acted is shown as another activity, always the same one in the same manner.
    The videos and their annotations become those of `VIEW`, whatever view the annotations name.

    Parameters
    ----------
    directory : Path
        Where it goes: empty, not there, or drawn before from the same annotations with the same
        seed. Videos that are there are kept.
    annotations : Path
        Folder with the CSV files of one view.
    seed : int
        Equal seeds give equal bytes, whatever `workers` is.
    workers : int, optional
        Processes that draw; by default one for each core this process may use.
    log : callable
        Takes one line of progress at a time.

    Raises
    ------
    InputError
        If `annotations` are not Drive&Act's, or `directory` holds anything else.
    """
    check_workers(workers)
    directory = directory.expanduser().resolve()
    tables = _read(annotations.expanduser())
    videos = plan_matching(tables, seed)
    files = {name: _as_view(rows) for name, rows in tables.items()}
    record = _record(files, seed)
    kept = directory / RECORD
    if not kept.is_file():
        refuse_taken(directory)
    elif kept.read_text() != record:
        raise InputError(
            f"{directory} was drawn from other annotations or with another seed; "
            "name a folder that does not exist yet"
        )
    directory.mkdir(parents=True, exist_ok=True)
    kept.write_text(record)  # first, so that an interrupted drawing can resume
    folder = directory / "activities_3s" / VIEW
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    missing = [v for v in videos if not (directory / VIEW / f"{v.file_id}.mp4").is_file()]
    if len(missing) < len(videos):
        log(f"{len(videos) - len(missing)} of {len(videos)} videos are there already")
    if missing:
        film_all(directory / VIEW, missing, seed=seed, workers=workers, hold=HOLD, log=log)
    frames = sum(video.frames for video in videos)
    log(f"{len(videos)} videos, {frames} frames, view {VIEW}, in {directory}")


def plan_matching(tables: Tables, seed: int) -> list[Video]:
    """Return the videos that annotation files name, and who acts what in them.

    Parameters
    ----------
    tables : dict of str to list of Row
        Name of each file to its rows; what is acted is what midlevel says.
    seed : int

    Returns
    -------
    list of Video
        In the order in which they are named first.

    Raises
    ------
    InputError
        If an interval is empty, or a participant, a label or a video is not of Drive&Act.
    """
    videos: dict[str, Video] = {}
    acted: dict[str, _Spans] = defaultdict(dict)
    official = ClassList(MIDLEVEL, {}, "Drive&Act's 39 midlevel classes")
    suffix = next(iter(tables.values()))[0].text("file_id").rpartition(".")[2]
    for name, rows in tables.items():
        for row in rows:
            start, stop = _interval(row)
            file_id = _renamed(row, suffix)
            video = videos.setdefault(file_id, Video(_participant(row), file_id))
            video.frames = max(video.frames, stop + TAIL)
            if name.startswith(LEVELS[0]):
                label = official.resolve(row.text("activity"), row.where)
                spans, number = acted[file_id], row.text("annotation_id")
                # The chunks of an annotation follow one another: they are acted as one.
                first, last, _ = spans.get(number, (start, stop, label))
                spans[number] = min(first, start), max(last, stop), label
    for file_id, video in videos.items():
        video.takes = _takes(acted[file_id], f"{seed} {file_id}")
    return list(videos.values())


def _takes(spans: _Spans, name: str) -> list[tuple[int, Take]]:
    takes, clock = [], 0
    for number, (start, stop, label) in sorted(spans.items(), key=lambda item: item[1]):
        start = max(start, clock)  # nobody does two things at once
        if start < stop:
            takes.append((start, _take(label, stop - start, f"{name} {number}")))
            clock = stop
    return takes


def _take(label: str, frames: int, name: str) -> Take:
    if label in ACTIVITIES:
        return Take(activity=label, frames=frames, seed=zlib.crc32(name.encode()))
    look = zlib.crc32(label.encode())
    return Take(activity=ACTIVITIES[look % len(ACTIVITIES)], frames=frames, seed=look)


def _read(folder: Path) -> Tables:
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder; name the folder with the annotation files of one view"
        )
    paths = [path for level in LEVELS for path in sorted(folder.glob(f"{level}.chunks_90*.csv"))]
    if not any(path.name.startswith(LEVELS[0]) for path in paths):
        views = [
            str(folder / layout / view)
            for layout in LAYOUTS
            for view in SUFFIXES
            if (folder / layout / view).is_dir()
        ]
        remedy = f"did you mean {listing(views)}?" if views else "name the folder of one view"
        raise InputError(f"{folder} has no {LEVELS[0]}.chunks_90*.csv of Drive&Act; {remedy}")
    return {path.name: read_table(path, COLUMNS) for path in paths}


def _renamed(row: Row, suffix: str) -> str:
    """Return the name of the video in `VIEW`; all rows must be of the view with `suffix`."""
    file_id = row.text("file_id")
    run, _, view = file_id.rpartition(".")
    if not re.fullmatch(r"vp\d+/[\w.-]+", run) or view not in SUFFIXES.values():
        raise InputError(
            f'{row.where}: file_id "{file_id}" is not of Drive&Act, such as '
            "vp1/run1_2018-05-29-14-02-47.ids_2; correct it"
        )
    if view != suffix:
        raise InputError(
            f"{row.where}: {file_id} belongs to another view than the first row, of {suffix}; "
            "every camera counts its own frames, so give the files of one view"
        )
    return f"{run}.{SUFFIXES[VIEW]}"


def _participant(row: Row) -> int:
    number = row.whole_number_in("participant_id")
    if number not in PARTICIPANTS:
        raise InputError(
            f"{row.where}: participant {number} is none of Drive&Act's "
            f"{PARTICIPANTS[0]} to {PARTICIPANTS[-1]}; correct it"
        )
    return number


def _interval(row: Row) -> tuple[int, int]:
    start, stop = row.whole_number_in("frame_start"), row.whole_number_in("frame_end")
    if not 0 <= start < stop:
        raise InputError(
            f"{row.where}: frames {start} to {stop} (exclusive) are no interval; correct them"
        )
    return start, stop


def _as_view(rows: Iterable[Row]) -> str:
    """Return a table with its videos named as in `VIEW`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(rows):
        run = row.text("file_id").rpartition(".")[0]
        cells = row.cells | {"file_id": f"{run}.{SUFFIXES[VIEW]}"}
        if number == 0:
            writer.writerow(cells)
        writer.writerow(cells.values())
    return text.getvalue()


def _record(files: dict[str, str], seed: int) -> str:
    """Return what a folder is drawn from; only the same drawing resumes in it."""
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return json.dumps({"seed": seed, "annotations": f"sha256:{digest}"}) + "\n"
