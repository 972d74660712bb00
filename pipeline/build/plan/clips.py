"""From annotations and videos to the ordered clips of a store. Pure: nothing is read here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial

from featstore.errors import InputError
from featstore.keys import ClipKey
from pipeline.build.plan.sampling import Shown
from pipeline.build.plan.timeline import Timeline
from pipeline.sources.base import Annotation, Dataset
from pipeline.video.index import VideoIndex
from pipeline.video.modes import PixelMode
from pipeline.video.pixels import is_repacked
from pipeline.video.videos import Video

RATE_TOLERANCE = 0.05
# Seconds look like frames of the first quarter of a video, or of less where it is not slow, in
# nearly all videos: one row may be wrong.
UNIT_SHARE = 0.25
UNIT_VIDEOS = 0.9
# Why a clip failed whose frames decode.
NOT_FINITE = "its features are not finite"


@dataclass(frozen=True, slots=True)
class Clip:
    """An annotated interval ``[start, stop)`` in frames of one video.

    Attributes
    ----------
    clip_id : str
    video : int
        Position among the videos.
    start, stop : int
    label, subject, split : str
    lost : str
        Why none of its frames can be read, where that is so.
    shown : (int, int) or None
        Time stamps at which it begins and ends, where they decide on frames; see `sample`.
    """

    clip_id: str
    video: int
    start: int
    stop: int
    label: str
    subject: str
    split: str
    lost: str = ""
    shown: Shown | None = None

    def key(self, videos: Sequence[Video], mode: PixelMode) -> ClipKey:
        """Return what a store key covers of this clip."""
        video = videos[self.video]
        return ClipKey(
            clip_id=self.clip_id,
            video=video.content,
            pixel_range=reading(video.index, mode),
            start=self.start,
            stop=self.stop,
            label=self.label,
            subject=self.subject,
            split=self.split,
            shown=" ".join(map(str, self.shown or ())),
            begins=str(video.index.delay or ""),
        )


def reading(index: VideoIndex, mode: PixelMode) -> str:
    """Return the range of values, and what was once read otherwise and has another key since."""
    palette = index.palette and mode == "luma"
    read = [index.pixel_range, "mirrored" * index.mirrored, "palette" * palette]
    read.append("mislabelled" * index.mislabelled)
    read.append("repacked" * is_repacked(index.pixel_format, mode))
    return ", ".join(filter(None, read))


def resolve(
    dataset: Dataset,
    videos: Sequence[Video],
    min_frames: int,
    *,
    fps: Fraction | None = None,
    keep_lost: bool = False,
) -> tuple[list[Clip], list[Clip]]:
    """Turn annotations into clips in the order of a store.

    Parameters
    ----------
    dataset : Dataset
    videos : sequence of Video
        Every video that the annotations name.
    min_frames : int
        Shorter clips are dropped.
    fps : Fraction or None
        Steps per second; None takes every frame.
    keep_lost : bool
        Take clips that lie outside of their video as failed ones.

    Returns
    -------
    kept, dropped : list of Clip
        Ordered by video, start, stop and clip id.

    Raises
    ------
    InputError
        If a clip lies outside of its video and `keep_lost` is False, or a video has another frame
        rate than the annotations assume; or if no clip is left.
    """
    number_of = {video.name: number for number, video in enumerate(videos)}
    _check_rates(dataset, videos)
    if dataset.unit_assumed:
        _check_unit(
            dataset, [videos[number_of[annotation.video]] for annotation in dataset.annotations]
        )
    clips = []
    timeline = cache(lambda number: Timeline.of(videos[number].index))
    for annotation in dataset.annotations:
        number = number_of[annotation.video]
        start, stop, shown, outside = _interval(
            annotation, videos[number], fps, partial(timeline, number)
        )
        clips.append(
            Clip(
                annotation.clip_id,
                number,
                start,
                stop,
                annotation.label,
                annotation.subject,
                annotation.split,
                lost=videos[number].unreadable or outside,
                shown=shown,
            )
        )
    outside_clips = [clip for clip in clips if clip.lost and not videos[clip.video].unreadable]
    if outside_clips and (not keep_lost or len(outside_clips) == len(clips)):
        first = outside_clips[0]
        raise InputError(
            f"{len(outside_clips)} of {len(clips)} clips lie outside of their video, such as "
            f"{first.clip_id} of {videos[first.video].path}: {first.lost}; are these the "
            "annotations of another view, or in another unit? If videos are cut off, "
            "--max-failures leaves so many clips out."
        )
    clips.sort(key=lambda clip: (videos[clip.video].name, clip.start, clip.stop, clip.clip_id))
    _check_copies(clips, videos)
    kept = [clip for clip in clips if clip.stop - clip.start >= min_frames or clip.lost]
    dropped = [clip for clip in clips if clip.stop - clip.start < min_frames and not clip.lost]
    if kept and all(clip.lost for clip in kept):
        raise InputError(
            f"None of the {len(kept)} clips can be read: {videos[kept[0].video].path}: "
            f"{kept[0].lost}."
        )
    if not kept:
        raise InputError(
            f"None of {len(clips)} clips has {min_frames} frames or more; lower --min-frames."
        )
    return kept, dropped


def _interval(
    annotation: Annotation, video: Video, fps: Fraction | None, timeline: Callable[[], Timeline]
) -> tuple[int, int, Shown | None, str]:
    """Return a clip's interval in frames, and what to say where its video does not hold it."""
    index = video.index
    if video.unreadable:
        in_frames = annotation.unit == "frames" and annotation.stop is not None
        frames = (int(annotation.start or 0), int(annotation.stop or 0)) if in_frames else (0, 0)
        return *frames, None, ""
    if annotation.start is None or annotation.stop is None:
        return 0, len(index), None, ""
    span = f"{annotation.start:g} to {annotation.stop:g}"
    if annotation.unit == "frames":
        late = f"it has {len(index)} frames, and {span} are asked for"
        is_late = annotation.stop > len(index)
        return int(annotation.start), int(annotation.stop), None, late if is_late else ""
    if not index.timed:
        raise InputError(
            f"{video.path} is a folder of images, and its clips are in seconds; say how many "
            "images a second with --image-fps."
        )
    times = timeline()
    start, stop, shown = times.interval(annotation.start, annotation.stop, fps)
    if start < stop and annotation.stop <= times.latest:
        return start, stop, shown, ""
    lasts = f"it lasts {index.duration:.3f} s"
    if index.delay:
        lasts = f"it is shown from {float(index.delay):.3f} to {times.finish:.3f} s"
    return start, max(start, stop), None, f"{lasts}, and {span} s are asked for"


def _check_copies(clips: Sequence[Clip], videos: Sequence[Video]) -> None:
    """Refuse one video under two names in two parts: a leak, whatever the subjects are called."""
    seen: dict[str, tuple[int, str]] = {}
    for clip in clips:
        if videos[clip.video].unreadable:  # all empty files are the same
            continue
        video, part = seen.setdefault(videos[clip.video].sha256, (clip.video, clip.split))
        if video != clip.video and part != clip.split:
            raise InputError(
                f"{videos[video].path} ({part}) and {videos[clip.video].path} ({clip.split}) are "
                "the same video; remove one of the two."
            )


def _check_unit(dataset: Dataset, videos: Sequence[Video]) -> None:
    """Refuse intervals that nobody said to be in frames, and that are likely to be in seconds."""
    ends: dict[str, tuple[float, Video]] = {}
    for annotation, video in zip(dataset.annotations, videos, strict=True):
        if annotation.stop is not None and video.index.timed and not video.unreadable:
            end, _ = ends.get(video.name, (0.0, video))
            ends[video.name] = max(end, annotation.stop), video
    likely = [
        (end, video)
        for end, video in ends.values()
        if end <= min(video.index.duration + 1, UNIT_SHARE * len(video.index))
    ]
    if likely and len(likely) >= UNIT_VIDEOS * len(ends):
        end, video = max(likely, key=lambda pair: pair[0])
        index = video.index
        raise InputError(
            f"In {len(likely)} of {len(ends)} videos all clips lie in the first frames, such as "
            f"{video.path}: read as frames, the last clip ends at {end:g} of {len(index)} frames; "
            f"as seconds, at {end:g} of {index.duration:.3f} s. Give --unit seconds, or --unit "
            "frames if they are frames."
        )


def _check_rates(dataset: Dataset, videos: Sequence[Video]) -> None:
    expected = dataset.video_rate
    for video in videos if expected else ():
        rate = video.index.rate
        if expected and rate and abs(rate - expected) > RATE_TOLERANCE * expected:
            raise InputError(
                f"{video.path} has {rate:.3g} frames a second, and these annotations count frames "
                f"at {expected:g}; take the annotations of this view."
            )


def counts(clips: Sequence[Clip], of: str) -> Mapping[str, dict[str, int]]:
    """Count clips by part and by one of their properties.

    Parameters
    ----------
    clips : sequence of Clip
    of : str
        ``label`` or ``subject``.

    Returns
    -------
    mapping of part to dict of value to number of clips
    """
    table: dict[str, dict[str, int]] = {"train": {}, "val": {}, "test": {}}
    for clip in clips:
        value = getattr(clip, of)
        table[clip.split][value] = table[clip.split].get(value, 0) + 1
    return table
