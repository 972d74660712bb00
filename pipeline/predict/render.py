"""From kept predictions to tables, subtitles, pictures, videos with labels, and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featstore.errors import CorruptStoreError
from featstore.keys import digest
from featstore.text import count_of
from pipeline.build.plan.clips import Clip
from pipeline.predict.choose import choose
from pipeline.predict.outputs import (
    Kept,
    Row,
    read_kept,
    segment_rows,
    subtitles,
    window_rows,
    write_table,
    write_text,
)
from pipeline.predict.overlay import write_overlay
from pipeline.predict.picture import draw_timeline
from pipeline.predict.recording import Predicted
from pipeline.predict.scores import Scorer
from pipeline.predict.segments import Segment, Smoother, Timeline, segments_of, slots_of
from pipeline.types import Log
from pipeline.video.videos import Video

SEGMENT_COLUMNS = ("recording", "start", "end", "label", "probability")
PICTURE, SUBTITLES, OVERLAY, DRAWN = "timeline.png", "segments.vtt", "overlay.mp4", "drawn.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How predictions are shown.

    Attributes
    ----------
    classes : tuple of str
    hop : float
        Seconds of a slot of the timeline.
    smoothers : list of Smoother
        Of several, the best one on annotated recordings is used.
    format : {"csv", "jsonl", "parquet"}
    pictures, overlay : bool
    intervals : bool
        Whether windows are intervals of a table, which are segments by themselves.
    """

    classes: tuple[str, ...]
    hop: float
    smoothers: Sequence[Smoother]
    format: str
    pictures: bool
    overlay: bool
    intervals: bool


def render(
    out: Path,
    recordings: Sequence[tuple[Video, Path]],
    annotated: Mapping[str, Sequence[Clip]],
    rendering: Rendering,
    log: Log,
) -> dict[str, Any]:
    """Write everything that people and programs read; return the counts and the scores.

    Parameters
    ----------
    out : Path
    recordings : sequence of (Video, Path)
        Every recording and its kept predictions.
    annotated : mapping
        Annotated intervals by recording.
    rendering : Rendering
    log : callable
    """
    classes = rendering.classes
    counts = {"recordings": len(recordings), "windows": 0, "gaps": 0, "segments": 0}
    scorer = Scorer(classes)
    segment_table: list[Row] = []
    smoother = _chosen(recordings, annotated, rendering, log)
    for video, path in recordings:
        kept = _read(path)
        truth = annotations_of(annotated.get(video.name, ()), video, classes)
        timeline = _timeline(kept, truth, rendering, smoother)
        _show(path.parent, video, kept.predicted, timeline, rendering, log)
        for number, reason in kept.predicted.gaps.items():
            begin, end = kept.predicted.windows.begin[number], kept.predicted.windows.end[number]
            log(f"GAP in {video.name}, {begin:.3f} to {end:.3f} s: {reason}")
        if truth:
            scorer.add(timeline.segments, truth)
        segment_table += segment_rows(video.name, timeline.segments, classes)
        counts["windows"] += len(kept.predicted.windows)
        counts["gaps"] += len(kept.predicted.gaps)
        counts["segments"] += len(timeline.segments)
    write_table(out / "segments.csv", SEGMENT_COLUMNS, segment_table, rendering.format)
    write_table(
        out / "windows.csv", _window_columns(classes), _rows(recordings, classes), rendering.format
    )
    return {**counts, "smoothing": asdict(smoother), "scores": scorer.write(out / "scores.json")}


def _chosen(
    recordings: Sequence[tuple[Video, Path]],
    annotated: Mapping[str, Sequence[Clip]],
    rendering: Rendering,
    log: Log,
) -> Smoother:
    """Return the smoother, chosen on annotated recordings if there are several."""
    if len(rendering.smoothers) == 1:
        return rendering.smoothers[0]
    timelines = []
    for video, path in recordings:
        if truth := annotations_of(annotated.get(video.name, ()), video, rendering.classes):
            kept = _read(path)
            timelines.append((*slots_of(kept.predicted, rendering.hop, kept.finish), truth))
    smoother, score = choose(rendering.smoothers, timelines, rendering.hop)
    log(
        f"smoothing chosen on {count_of(len(timelines), 'annotated recording')}: --smooth "
        f"{smoother.kind} --smooth-seconds {smoother.seconds:g} (mean F1 {100 * score:.1f} %); "
        "the scores below are of the same recordings"
    )
    return smoother


def _read(path: Path) -> Kept:
    kept = read_kept(path)
    if kept is None:
        raise CorruptStoreError(f"{path} cannot be read back; run the same command again.")
    return kept


def _rows(recordings: Sequence[tuple[Video, Path]], classes: Sequence[str]) -> Iterator[Row]:
    for _, path in recordings:
        yield from window_rows(_read(path), classes)


def _window_columns(classes: Sequence[str]) -> list[str]:
    named = ["recording", "start", "end", "start_frame", "end_frame", "label", "probability", "gap"]
    return [*named, *(f"p:{name}" for name in classes)]


def _timeline(
    kept: Kept, annotated: Sequence[Segment], rendering: Rendering, smoother: Smoother
) -> Timeline:
    bounds, slots = slots_of(kept.predicted, rendering.hop, kept.finish)
    if not rendering.intervals:
        labels = smoother(slots, rendering.hop)
        return Timeline(bounds, slots, segments_of(labels, slots, bounds), annotated)
    predicted = kept.predicted
    best = np.exp(np.nan_to_num(predicted.log_probabilities, nan=-np.inf))
    segments = [
        Segment(
            float(predicted.windows.begin[number]),
            float(predicted.windows.end[number]),
            int(best[number].argmax()),
            float(best[number].max()),
        )
        for number in range(len(predicted.windows))
        if number not in predicted.gaps and best[number].max() >= smoother.threshold
    ]
    return Timeline(bounds, slots, segments, annotated)


def annotations_of(clips: Sequence[Clip], video: Video, classes: Sequence[str]) -> list[Segment]:
    """Return the labelled intervals of a recording as segments in seconds."""
    index = video.index
    bounds = index.bounds * float(index.time_base) + float(index.delay)
    numbers = {name: number for number, name in enumerate(classes)}
    return [
        Segment(float(bounds[clip.start]), float(bounds[clip.stop]), numbers[clip.label], 1.0)
        for clip in clips
        if clip.label
    ]


def _show(
    folder: Path,
    video: Video,
    predicted: Predicted,
    timeline: Timeline,
    rendering: Rendering,
    log: Log,
) -> None:
    """Write a recording's subtitles, picture and video, unless the same ones are there."""
    classes, segments = rendering.classes, timeline.segments
    write_text(folder / SUBTITLES, subtitles(segments, classes))
    names = [name for name, asked in _pictures(rendering) if asked]
    slots = timeline.slots.tobytes().hex()
    drawn = digest([classes, slots, list(segments), list(timeline.annotated)])
    mark = folder / DRAWN
    same = mark.is_file() and mark.read_text("utf-8") == drawn
    if not same:
        mark.unlink(missing_ok=True)
        for name, _ in _pictures(rendering):
            (folder / name).unlink(missing_ok=True)
    if PICTURE in names and not (folder / PICTURE).is_file():
        draw_timeline(folder / PICTURE, video.name, timeline, classes)
    if OVERLAY in names and not (folder / OVERLAY).is_file():
        write_overlay(folder / OVERLAY, video, predicted, timeline, classes, log)
    if not same:
        write_text(mark, drawn)


def _pictures(rendering: Rendering) -> list[tuple[str, bool]]:
    return [(PICTURE, rendering.pictures), (OVERLAY, rendering.overlay)]
