"""From a planned video to its file: poses, pictures, noise, encoding; videos in parallel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import as_completed
from contextlib import closing
from dataclasses import dataclass
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
from pipeline.demo.schedule import Video
from pipeline.demo.views import VIEWS, View
from pipeline.system.processes import worker_processes
from pipeline.system.progress import Progress
from pipeline.system.threads import processors


@dataclass(frozen=True, slots=True)
class _Job:
    path: Path
    video: Video
    person: Person
    camera: Camera
    view: View
    seed: int
    hold: int


def film(video: Video, person: Person, camera: Camera, hold: int = 1) -> Iterator[GreyImage]:
    """Draw the frames of a video, before light, noise and encoding.

    Parameters
    ----------
    video : Video
    person : Person
    camera : Camera
    hold : int
        Frames for which one picture stands still; drawing it takes most of the time.

    Yields
    ------
    ndarray
        ``(106, 128)`` uint8.
    """
    cabin = draw_cabin(person, camera)
    for number, pose in enumerate(_poses(video, person)):
        if number % hold == 0:
            picture = render(cabin, person, pose)
        yield picture


def film_all(
    folder: Path,
    videos: list[Video],
    *,
    view: View = VIEWS[0],
    seed: int,
    workers: int | None,
    hold: int = 1,
    log: Callable[[str], None],
) -> None:
    """Draw videos into ``FOLDER/<file_id>.mp4``, each under another name until it is whole.

    Parameters
    ----------
    folder : Path
    videos : list of Video
    view : View
        The camera.
    seed : int
        Equal seeds give equal bytes, whatever `workers` is.
    workers : int, optional
        Processes that draw; by default one for each core this process may use.
    hold : int
        As in `film`.
    log : callable
        Takes one line of progress at a time.
    """
    people = make_people(seed)
    workers = min(workers or processors(), len(videos))
    frames = sum(video.frames for video in videos)
    log(f"drawing {len(videos)} videos, {frames} frames, with {workers} process(es)")
    jobs = []
    for video in sorted(videos, key=lambda v: -v.frames):  # the longest first, to end together
        path = folder / f"{video.file_id}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        person, camera = people[video.participant]
        jobs.append(_Job(path, video, person, view.camera(camera), view, seed, hold))
    with (
        Progress("drawing", frames, "frames", log) as progress,
        closing(_run(jobs, workers)) as drawn,
    ):
        for done in drawn:
            progress.advance(done)


def check_workers(workers: int | None) -> None:
    """Refuse a number of processes that cannot draw.

    Raises
    ------
    InputError
        If `workers` is below 1.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers cannot draw anything; ask for 1 or more")


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


def _film_one(job: _Job) -> int:
    # A video is the unit of work and of randomness: who draws it and when cannot matter.
    video = job.video
    name = int.from_bytes(hashlib.sha256(video.file_id.encode()).digest()[:8])
    rng = np.random.default_rng([job.seed, 2, name])
    sensor = Sensor(job.camera, rng)
    partial = job.path.with_name(f".{job.path.name}")
    pictures = film(video, job.person, job.camera, job.hold)
    write_video(partial, (sensor.expose(job.view.see(clean)) for clean in pictures))
    partial.replace(job.path)
    return video.frames


def _run(jobs: list[_Job], workers: int) -> Generator[int, None, None]:
    """Yield the frames of each video once it is drawn."""
    if workers == 1:
        yield from map(_film_one, jobs)
        return
    with worker_processes(workers) as pool:
        for future in as_completed([pool.submit(_film_one, job) for job in jobs]):
            yield future.result()
