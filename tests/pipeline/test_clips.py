from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.clips import counts, resolve
from pipeline.sources.base import Annotation, Dataset
from pipeline.video.catalogue import Video
from pipeline.video.index import VideoIndex


def video(name: str, frames: int = 100, rate: int = 25, *, timed: bool = True) -> Video:
    pts = np.arange(frames)
    index = VideoIndex(
        pts, pts[:1], Fraction(1, rate), frames, 8, 8, "gray", 8, "full", timed=timed
    )
    return Video(name, Path("data", name), name.upper(), index)


def annotation(clip_id: str, start, stop, *, name: str = "a", unit="frames", **more) -> Annotation:
    options = {"label": "x", "subject": "s", "split": "train", **more}
    return Annotation(
        clip_id=clip_id, video=name, path=Path(name), start=start, stop=stop, unit=unit, **options
    )


def dataset(*annotations: Annotation, **more) -> Dataset:
    return Dataset(title="t", annotations=annotations, classes=("x",), subjects_known=True, **more)


def intervals(clips) -> list:
    return [(clip.clip_id, clip.start, clip.stop) for clip in clips]


def test_order_is_by_video_start_stop_and_id() -> None:
    rows = [
        annotation("z", 0, 9, name="b"),
        annotation("y", 5, 9),
        annotation("x", 5, 8),
        annotation("w", 5, 9),
        annotation("v", 90, 99),
    ]
    expected = [("x", 5, 8), ("w", 5, 9), ("y", 5, 9), ("v", 90, 99), ("z", 0, 9)]
    for order in (rows, rows[::-1], [rows[i] for i in (2, 4, 0, 3, 1)]):
        # Whatever the order of the videos, clips follow their names.
        kept, _ = resolve(dataset(*order), [video("b"), video("a")], 1)
        assert intervals(kept) == expected
        assert [clip.video for clip in kept] == [1, 1, 1, 1, 0]


def test_seconds_are_rounded_to_the_nearest_frame() -> None:
    rows = [annotation("a", 0.05, 1.019, unit="seconds"), annotation("b", 2.0, 4.0, unit="seconds")]
    kept, _ = resolve(dataset(*rows), [video("a")], 1)
    assert intervals(kept) == [("a", 1, 25), ("b", 50, 100)]


def test_an_end_rounded_up_is_the_end() -> None:
    kept, _ = resolve(dataset(annotation("a", 3.0, 4.03, unit="seconds")), [video("a")], 1)
    assert intervals(kept) == [("a", 75, 100)]


def test_without_interval_the_whole_video() -> None:
    kept, _ = resolve(dataset(annotation("a", None, None)), [video("a", 7)], 1)
    assert intervals(kept) == [("a", 0, 7)]


@pytest.mark.parametrize(
    ("row", "numbers"),
    [
        (annotation("late", 90, 101), "100 frames, and 90 to 101"),
        (annotation("late", 3.9, 4.1, unit="seconds"), r"4\.000 s, and 3\.9 to 4\.1 s"),
    ],
)
def test_clips_past_the_end_are_refused_with_the_numbers(row: Annotation, numbers: str) -> None:
    with pytest.raises(InputError, match=rf"1 of 2 clips .* late of data/a: it .* {numbers}"):
        resolve(dataset(row, annotation("fine", 0, 100)), [video("a")], 1)


def test_another_frame_rate_is_refused_with_the_numbers() -> None:
    rows = dataset(annotation("a", 0, 9), video_rate=30.0)
    with pytest.raises(InputError, match=r"data/a has 25 frames a second.* at 30"):
        resolve(rows, [video("a")], 1)
    resolve(rows, [video("a", rate=29)], 1)


def test_seconds_in_images_of_unknown_rate() -> None:
    with pytest.raises(InputError, match="--image-fps"):
        resolve(dataset(annotation("a", 0, 1, unit="seconds")), [video("a", timed=False)], 1)


def test_short_clips_are_dropped_and_kept_apart() -> None:
    rows = [annotation("a", 0, 7), annotation("b", 0, 8), annotation("c", 0, 9)]
    kept, dropped = resolve(dataset(*rows), [video("a")], 8)
    assert (intervals(kept), intervals(dropped)) == ([("b", 0, 8), ("c", 0, 9)], [("a", 0, 7)])
    with pytest.raises(InputError, match="None of 3 clips has 10 frames"):
        resolve(dataset(*rows), [video("a")], 10)


def test_a_clip_of_less_than_a_frame_is_dropped() -> None:
    rows = [annotation("a", 0.001, 0.01, unit="seconds"), annotation("b", 0, 1, unit="seconds")]
    kept, dropped = resolve(dataset(*rows), [video("a")], 1)
    assert (intervals(kept), intervals(dropped)) == ([("b", 0, 25)], [("a", 0, 0)])


def test_counts() -> None:
    rows = [annotation(str(i), 0, 9, split=part) for i, part in enumerate(["train"] * 2 + ["val"])]
    kept, _ = resolve(dataset(*rows), [video("a")], 1)
    assert counts(kept, "label") == {"train": {"x": 2}, "val": {"x": 1}, "test": {}}


@pytest.mark.parametrize(
    ("how", "luma", "rgb"),
    [
        ({}, "full", "full"),
        ({"mirrored": True}, "full, mirrored", "full, mirrored"),
        ({"palette": True}, "full, palette", "full"),
    ],
)
def test_only_what_is_read_otherwise_than_before_has_another_key(how, luma, rgb) -> None:
    plain = video("a")
    videos = [replace(plain, index=replace(plain.index, **how))]
    clip = resolve(dataset(annotation("x", 0, 9)), videos, 1)[0][0]
    assert [clip.key(videos, mode).pixel_range for mode in ("luma", "rgb")] == [luma, rgb]
