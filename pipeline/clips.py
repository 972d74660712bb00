"""From annotations and videos to the ordered clips of a store. Pure: nothing is read here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featstore.errors import InputError
from featstore.keys import ClipKey
from pipeline.sampling import frame_at
from pipeline.sources.base import Annotation, Dataset
from pipeline.video.catalogue import Video

RATE_TOLERANCE = 0.05


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
    """

    clip_id: str
    video: int
    start: int
    stop: int
    label: str
    subject: str
    split: str

    def key(self, videos: Sequence[Video]) -> ClipKey:
        """Return what a store key covers of this clip."""
        video = videos[self.video]
        return ClipKey(
            clip_id=self.clip_id,
            video=video.sha256,
            pixel_range=video.index.pixel_range,
            start=self.start,
            stop=self.stop,
            label=self.label,
            subject=self.subject,
            split=self.split,
        )


def resolve(
    dataset: Dataset, videos: Sequence[Video], min_frames: int
) -> tuple[list[Clip], list[Clip]]:
    """Turn annotations into clips in the order of a store.

    Parameters
    ----------
    dataset : Dataset
    videos : sequence of Video
        Every video that the annotations name.
    min_frames : int
        Shorter clips are dropped.

    Returns
    -------
    kept, dropped : list of Clip
        Ordered by video, start, stop and clip id.

    Raises
    ------
    InputError
        If a clip ends after its video, or a video has another frame rate than the annotations
        assume; or if no clip is left.
    """
    places = {video.name: number for number, video in enumerate(videos)}
    _check_rates(dataset, videos)
    late: list[str] = []
    clips = []
    for annotation in dataset.annotations:
        number = places[annotation.video]
        start, stop = _interval(annotation, videos[number], late)
        clips.append(
            Clip(
                annotation.clip_id,
                number,
                start,
                stop,
                annotation.label,
                annotation.subject,
                annotation.split,
            )
        )
    if late:
        raise InputError(
            f"{len(late)} of {len(clips)} clips end after their video, such as {late[0]}; are "
            "these the annotations of another view, or in another unit?"
        )
    clips.sort(key=lambda clip: (videos[clip.video].name, clip.start, clip.stop, clip.clip_id))
    _check_copies(clips, videos)
    lost = {number for number, video in enumerate(videos) if video.unreadable}
    kept = [c for c in clips if c.stop - c.start >= min_frames or c.video in lost]
    dropped = [c for c in clips if c.stop - c.start < min_frames and c.video not in lost]
    if kept and all(clip.video in lost for clip in kept):
        raise InputError(
            f"None of the {len(videos)} videos can be read: {videos[kept[0].video].path}: "
            f"{videos[kept[0].video].unreadable}."
        )
    if not kept:
        raise InputError(
            f"None of {len(clips)} clips has {min_frames} frames or more; lower --min-frames."
        )
    return kept, dropped


def _interval(annotation: Annotation, video: Video, late: list[str]) -> tuple[int, int]:
    """Return a clip's interval in frames, noting in `late` one that its video does not hold."""
    index = video.index
    if video.unreadable:
        known = annotation.unit == "frames" and annotation.stop is not None
        return (int(annotation.start or 0), int(annotation.stop or 0)) if known else (0, 0)
    if annotation.start is None or annotation.stop is None:
        return 0, len(index)
    if annotation.unit == "frames":
        if annotation.stop > len(index):
            late.append(
                f"{annotation.clip_id} at frames {annotation.start:g} to {annotation.stop:g} of "
                f"{len(index)} in {video.path}"
            )
        return int(annotation.start), int(annotation.stop)
    if not index.timed:
        raise InputError(
            f"{video.path} is a folder of images, and its clips are in seconds; say how many "
            "images a second with --image-fps."
        )
    # An end rounded up by less than a frame is the end.
    if annotation.stop > index.duration + index.duration / len(index):
        late.append(
            f"{annotation.clip_id} at {annotation.start:g} to {annotation.stop:g} s of "
            f"{index.duration:.3f} s in {video.path}"
        )
    return frame_at(index, annotation.start), frame_at(index, annotation.stop)


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
