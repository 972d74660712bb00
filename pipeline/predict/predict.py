"""Predict recordings, from a run to tables; read it from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.keys import digest
from featstore.text import count_of
from pipeline.build.plan.build_plan import cache_of
from pipeline.build.plan.clips import Clip
from pipeline.build.plan.steps import check_rate
from pipeline.option_values import rate
from pipeline.predict.inputs import Inputs, annotated_clips, find_inputs, subjects_of
from pipeline.predict.options import PredictOptions
from pipeline.predict.outputs import Kept, check_folder, check_format, keep, read_kept
from pipeline.predict.predictors import Predictor, hashes_of, predictor_of
from pipeline.predict.recording import WHOLE
from pipeline.predict.render import Rendering, render
from pipeline.predict.stored import is_store, predict_store
from pipeline.predict.trained import Trained, lengths, load_trained
from pipeline.predict.windows import Windows, intervals, slide
from pipeline.system.dask_cluster import Cluster
from pipeline.system.memory import keep_freed_memory
from pipeline.system.progress import Progress
from pipeline.types import Log
from pipeline.video.cache import Cache
from pipeline.video.journal import keep_journal
from pipeline.video.videos import Video, check_unchanged, read_videos

KEPT = "windows.npz"


def predict(
    run: Path,
    paths: Sequence[Path],
    options: PredictOptions,
    log: Log,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Predict recordings and write tables, subtitles and pictures to a folder.

    Paths of stores predict their clips; see `pipeline.predict.stored`. Recordings that the folder
    already has, by the same run, windows and content, are skipped.

    Parameters
    ----------
    run : Path
    paths : sequence of Path
        See `pipeline.predict.inputs.find_inputs`.
    options : PredictOptions
    log : callable
        Takes one line.
    cluster : Cluster, optional
        Whose workers predict, one recording each at a time; by default this process does.

    Returns
    -------
    dict
        ``out``; the numbers of ``recordings``, ``skipped``, ``unreadable``, ``windows``, ``gaps``
        and ``segments``; ``scores``, None without annotations.

    Raises
    ------
    InputError
        If the run, an input or an option cannot be used.
    """
    keep_freed_memory()
    check_folder(options.out)
    check_format(options.format)
    if all(map(is_store, paths)):
        form, device = options.format, options.device
        return predict_store(run, paths, options.out, form=form, device=device, log=log)
    with closing(cache_of(options.out)) as cache, keep_journal(cache.journals, log):
        trained = load_trained(
            run,
            cache,
            weights=options.weights or (),
            device="cpu" if cluster else options.device,  # where workers have the GPUs
            workers=options.workers,
            log=log,
        )
        window, hop = lengths(run, trained, options.window, options.hop)
        smoothers = options.smoothers(window)
        inputs = find_inputs(paths, trained.first.like.class_list, options.unit)
        videos = _videos(inputs, trained, cache, log, cluster)
        annotated = annotated_clips(inputs, videos, trained.first.pixels)
        if len(smoothers) > 1 and not any(
            clip.label for clips in annotated.values() for clip in clips
        ):
            raise InputError(
                "--smooth is best, which is chosen on annotated recordings, and none has labels; "
                "name a table with start, end and label, such as that of val."
            )
        readable = _readable(videos, log)
        log(f"{count_of(len(readable), 'recording')}, windows of {window:g} s every {hop:g} s")
        plan = _Plan(trained, videos, annotated, window, hop, options)
        predictor = predictor_of(trained, options.out, options.device, cluster)
        skipped = _compute(plan, inputs, predictor, cache, log)
        rendering = Rendering(
            classes=trained.classes,
            hop=hop,
            smoothers=smoothers,
            format=options.format,
            pictures=options.pictures,
            overlay=options.overlay,
            intervals=options.intervals,
        )
        kept = [(videos[number], plan.path(number)) for number in readable]
        facts = render(options.out, kept, annotated, rendering, log)
    unreadable = len(videos) - len(readable)
    return {"out": options.out, "skipped": skipped, "unreadable": unreadable, **facts}


def _videos(
    inputs: Inputs, trained: Trained, cache: Cache, log: Log, cluster: Cluster | None
) -> list[Video]:
    image_fps = trained.first.like.features["image_fps"]
    videos = read_videos(
        inputs.named,
        cache,
        image_rate=None if image_fps is None else rate("image_fps", image_fps),
        workers=trained.first.forward.extraction.workers,
        keep_unreadable=True,
        log=log,
        cluster=cluster,
    )
    readable = [video for video in videos if not video.unreadable]
    for video in readable:
        if not video.index.timed:
            raise InputError(
                f"{video.path} is a folder of images, and the run was trained on videos with "
                "times; make a video of it, or train on a build with --image-fps."
            )
    check_rate(readable, trained.first.pixels.fps)
    return videos


def _readable(videos: Sequence[Video], log: Log) -> list[int]:
    """Return the positions of the videos that can be read; name the others."""
    for video in videos:
        if video.unreadable:
            log(f"NOT READ: {video.path}: {video.unreadable}")
    readable = [number for number, video in enumerate(videos) if not video.unreadable]
    if not readable:
        raise InputError(
            f"None of {count_of(len(videos), 'recording')} can be read, such as "
            f"{videos[0].path}: {videos[0].unreadable}; name other files."
        )
    return readable


class _Plan:
    """The windows of each recording, and the keys and places of their predictions."""

    def __init__(
        self,
        trained: Trained,
        videos: Sequence[Video],
        annotated: dict[str, list[Clip]],
        window: float,
        hop: float,
        options: PredictOptions,
    ) -> None:
        self.trained, self.videos, self._annotated = trained, videos, annotated
        self._window, self._hop, self._options = window, hop, options
        self._run = hashes_of(trained.run)

    def path(self, video: int) -> Path:
        """Return where the predictions for a video are kept."""
        return folder_of(self._options.out, self.videos[video].name) / KEPT

    def key(self, group: Sequence[int], numerics: dict[str, Any]) -> str:
        """Return the hash of everything that decides the predictions for recordings of a group."""
        intervals = [
            [clip.key(self.videos, self.trained.first.pixels.mode)[2:5], clip.shown]
            for video in group
            for clip in self._intervals(video)
        ]
        content = [self.videos[video].content for video in group]
        asked = None if self._options.intervals else [self._window, self._hop]
        features = [member.like.features for member in self.trained.members]
        return digest([list(self._run), features, numerics, content, asked, intervals])

    def windows(self, video: int) -> Windows:
        """Return the windows of a video."""
        index, fps = self.videos[video].index, self.trained.first.pixels.fps
        if self._options.intervals:
            return intervals(index, fps, self._intervals(video), self.trained.first.window)
        return slide(index, fps, self._window, self._hop, self.trained.first.window)

    def _intervals(self, video: int) -> list[Clip]:
        if not self._options.intervals:
            return []
        clips = self._annotated.get(self.videos[video].name, [])
        if not clips:
            raise InputError(
                f"--intervals predicts the intervals of a table, and none has any of "
                f"{self.videos[video].path}; name a table with start and end."
            )
        return [replace(clip, video=video) for clip in clips]


def folder_of(out: Path, recording: str) -> Path:
    """Return the folder of one recording's results."""
    plain = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in recording)
    return out / "recordings" / f"{plain[-80:]}-{digest(recording)[:6]}"


def _compute(plan: _Plan, inputs: Inputs, predictor: Predictor, cache: Cache, log: Log) -> int:
    """Compute the predictions that are not kept yet; return the number of recordings that are."""
    videos = plan.videos
    todo = [
        (group, key)
        for group in _groups(plan, inputs)
        for key in [plan.key(group, predictor.numerics)]
        if any((kept := read_kept(plan.path(one))) is None or kept.key != key for one in group)
    ]
    frames = sum(plan.windows(one).frames for group, _ in todo for one in group)
    skipped = sum(not video.unreadable for video in videos) - sum(len(group) for group, _ in todo)
    if skipped:
        log(f"{count_of(skipped, 'recording')} predicted before: skipped")
    if not todo:
        return skipped
    groups = ([(videos[one], plan.windows(one)) for one in group] for group, _ in todo)
    total = frames * len(plan.trained.members)  # each has a decoding of its own
    with Progress("predicting", total, "frames", log) as progress:
        for number, predicted in predictor.predict(
            groups, lambda inputs, frames: progress.advance(frames, frames)
        ):
            group, key = todo[number]
            check_unchanged([videos[one] for one in group], cache)
            for one, result in zip(group, predicted, strict=True):
                index = videos[one].index
                finish = float(index.delay) + index.duration
                keep(plan.path(one), Kept(key, videos[one].name, finish, result))
    return skipped


def _groups(plan: _Plan, inputs: Inputs) -> Iterator[list[int]]:
    """Yield the positions of the recordings that are standardised together."""
    numbers = [number for number, video in enumerate(plan.videos) if not video.unreadable]
    if plan.trained.standardise != WHOLE[1]:
        yield from ([number] for number in numbers)
        return
    subjects = subjects_of(inputs)
    groups: dict[str, list[int]] = {}
    for number in numbers:
        groups.setdefault(subjects[plan.videos[number].name], []).append(number)
    yield from groups.values()
