"""Draws the whole data set: videos in parallel, annotation files, one rename at the end."""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np

from featstore.errors import InputError
from pipeline.demo.activities import away, poses_of
from pipeline.demo.cabin import draw_cabin
from pipeline.demo.camera import Sensor, write_video
from pipeline.demo.canvas import GreyImage
from pipeline.demo.figure import render
from pipeline.demo.people import Camera, Person, make_people
from pipeline.demo.pose import Pose, between
from pipeline.demo.schedule import TEST, UNSPLIT, Row, Video, parts_of, plan_videos

VIEW = "kinect_ir"


def draw_demo(
    directory: Path,
    *,
    seed: int = 0,
    clips: int = 600,
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
    _refuse_taken(directory)
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers cannot draw anything; ask for 1 or more")
    videos = plan_videos(seed, clips)
    workers = min(workers or _cores(), len(videos))
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        frames = sum(video.frames for video in videos)
        log(f"drawing {len(videos)} videos, {frames} frames, with {workers} process(es)")
        _film_all(partial, videos, seed, workers, log)
        rows = [row for video in videos for row in video.rows()]
        _write_annotations(partial / "activities_3s" / VIEW, rows)
        if directory.exists():
            directory.rmdir()
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log(f"{clips} clips of {len({v.participant for v in videos})} participants in {directory}")


def film(video: Video, person: Person, camera: Camera) -> Iterator[GreyImage]:
    """Draw the frames of a video, before light, noise and encoding.

    Parameters
    ----------
    video : Video
    person : Person
    camera : Camera

    Yields
    ------
    ndarray
        ``(106, 128)`` uint8.
    """
    cabin = draw_cabin(person, camera)
    for pose in _poses(video, person):
        yield render(cabin, person, pose)


def _poses(video: Video, person: Person) -> Iterator[Pose]:
    low = away(person)
    last, clock = low, 0
    for start, take in video.takes:
        acted = poses_of(take, person)
        gap = start - clock
        yield from (between(last, acted[0], (k + 1) / (gap + 1), low) for k in range(gap))
        yield from acted
        last, clock = acted[-1], start + take.frames
    gap = video.frames - clock
    yield from (between(last, low, (k + 1) / (gap + 1), low) for k in range(gap))


def _film_one(path: Path, video: Video, person: Person, camera: Camera, seed: int) -> None:
    # A video is the unit of work and of randomness: who draws it and when cannot matter.
    run = int.from_bytes(video.file_id.encode()[-8:])
    rng = np.random.default_rng([seed, 2, video.participant, run, video.frames])
    sensor = Sensor(camera, rng)
    write_video(path, (sensor.expose(clean) for clean in film(video, person, camera)))


def _film_all(
    folder: Path, videos: list[Video], seed: int, workers: int, log: Callable[[str], None]
) -> None:
    people = make_people(seed)
    jobs = []
    for video in sorted(videos, key=lambda v: -v.frames):  # the longest first, to end together
        path = folder / VIEW / f"{video.file_id}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        jobs.append((path, video, *people[video.participant], seed))
    for done, _ in enumerate(_run(jobs, workers), start=1):
        if done % 10 == 0 or done == len(jobs):
            log(f"{done} of {len(jobs)} videos drawn")


def _run(jobs: list[tuple[Path, Video, Person, Camera, int]], workers: int) -> Iterator[None]:
    if workers == 1:
        for job in jobs:
            _film_one(*job)
            yield
        return
    # Spawned, not forked: a caller that has threads (torch, PyAV) must not be copied mid-lock.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for future in as_completed([pool.submit(_film_one, *job) for job in jobs]):
                future.result()
                yield
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


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


def _refuse_taken(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; name a folder that does not exist yet")
    if directory.is_dir() and any(directory.iterdir()):
        raise InputError(
            f"{directory} is not empty; name a folder that does not exist yet, or empty this one"
        )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
