"""Draw the planned data set: videos and annotation files, renamed into place at the end."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import astuple, fields
from pathlib import Path

from featstore.errors import InputError
from pipeline.demo.film import check_workers, film_all
from pipeline.demo.schedule import TEST, UNSPLIT, Row, parts_of, plan_videos
from pipeline.demo.views import VIEWS

VIEW = VIEWS[0].name


def draw_demo(
    directory: Path,
    *,
    seed: int = 0,
    clips: int = 600,
    views: int = 1,
    workers: int | None = None,
    log: Callable[[str], None],
) -> None:
    """Draw an infrared-like driving cabin in the official Drive&Act layout.

    Parameters
    ----------
    directory : Path
        Where it goes; must be empty or not exist. It appears whole or not at all.
    seed : int
        Equal seeds give equal bytes, whatever `workers` is.
    clips : int
        Rows of the split files.
    views : int
        Cameras, 1 or 2: the same clips from the other side of the car; see `pipeline.demo.views`.
    workers : int, optional
        Processes that draw; by default one for each core this process may use.
    log : callable
        Takes one line of progress at a time.

    Raises
    ------
    InputError
        If `directory` holds something, or `clips` or `workers` is too small.
    """
    directory = directory.expanduser().resolve()
    refuse_taken(directory)
    check_workers(workers)
    videos = plan_videos(seed, clips)
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        for view in VIEWS[:views]:
            seen = [video.seen_by(view) for video in videos]
            film_all(partial / view.name, seen, view=view, seed=seed, workers=workers, log=log)
            rows = [row for video in seen for row in video.rows()]
            _write_annotations(partial / "activities_3s" / view.name, rows)
        if directory.exists():
            directory.rmdir()
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log(f"{clips} clips of {len({v.participant for v in videos})} participants in {directory}")
    if views > 1:
        log(f"views: {', '.join(view.name for view in VIEWS[:views])}")


def refuse_taken(directory: Path) -> None:
    """Refuse a place that holds something.

    Raises
    ------
    InputError
        If `directory` is a file or a folder that is not empty.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; name a folder that does not exist yet")
    if directory.is_dir() and any(directory.iterdir()):
        raise InputError(
            f"{directory} is not empty; name a folder that does not exist yet, or empty this one"
        )


def _write_annotations(folder: Path, rows: list[Row]) -> None:
    folder.mkdir(parents=True)
    _write_rows(folder / "midlevel.chunks_90.csv", rows)
    for split in range(len(TEST)):
        for part, people in parts_of(split).items():
            path = folder / f"midlevel.chunks_90.split_{split}.{part}.csv"
            mine = (r for r in rows if r.participant_id in people and r.activity not in UNSPLIT)
            _write_rows(path, mine)


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f.name for f in fields(Row)])
        writer.writerows(astuple(row) for row in rows)
