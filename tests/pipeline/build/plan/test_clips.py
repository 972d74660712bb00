from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.build.plan.clips import counts, resolve
from pipeline.build.plan.sampling import sample
from pipeline.sources.base import Annotation, Dataset
from pipeline.video.index import VideoIndex
from pipeline.video.videos import Video


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
    with pytest.raises(InputError, match=rf"1 of 2 clips.*data/a:.*{numbers}"):
        resolve(dataset(row, annotation("fine", 0, 100)), [video("a")], 1)


def test_another_frame_rate_is_refused_with_the_numbers() -> None:
    rows = dataset(annotation("a", 0, 9), video_rate=30.0)
    with pytest.raises(InputError, match=r"data/a has 25 frames.*second.* at 30"):
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


def test_an_interval_inside_of_a_frame_is_that_frame() -> None:
    rows = [annotation("a", 0.001, 0.01, unit="seconds"), annotation("b", 0, 1, unit="seconds")]
    rows.append(annotation("c", 3.99, 3.995, unit="seconds"))
    for fps in (None, Fraction(5)):
        kept, dropped = resolve(dataset(*rows), [video("a")], 1, fps=fps)
        assert intervals(kept) == [("a", 0, 1), ("b", 0, 25), ("c", 99, 100)]
        assert dropped == []
        assert all(clip.shown is None for clip in kept)


def late_video(delay: Fraction) -> Video:
    return replace(video("a"), index=replace(video("a").index, delay=delay))


def test_seconds_count_from_the_beginning_of_the_file() -> None:
    rows = [annotation("a", 3, 5.5, unit="seconds"), annotation("b", 1, 3, unit="seconds")]
    kept, _ = resolve(dataset(*rows), [late_video(Fraction(2))], 1)
    assert intervals(kept) == [("b", 0, 25), ("a", 25, 87)]
    assert {clip.key([late_video(Fraction(2))], "luma").begins for clip in kept} == {"2"}
    assert kept[0].key([late_video(Fraction(0))], "luma").begins == ""


@pytest.mark.parametrize(("start", "stop"), [(0, 1.9), (5, 6.1), (7, 8)])
def test_seconds_outside_of_a_late_video(start: float, stop: float) -> None:
    rows = dataset(annotation("late", start, stop, unit="seconds"), annotation("fine", 0, 100))
    numbers = rf"2\.000 to 6\.000 s, and {start:g} to {stop:g} s"
    with pytest.raises(InputError, match=f"1 of 2 clips.*data/a:.*{numbers}"):
        resolve(rows, [late_video(Fraction(2))], 1)
    kept, _ = resolve(rows, [late_video(Fraction(2))], 1, keep_lost=True)
    assert [bool(clip.lost) for clip in kept] == [clip.clip_id == "late" for clip in kept]


def test_a_held_frame_is_the_frame_of_every_second() -> None:
    """25 frames a second, but frame 24 stays on the screen from 0.96 s to 11 s."""
    pts = np.append(np.arange(25), 275 + np.arange(25))
    held = replace(video("a"), index=replace(video("a").index, pts=pts, end=300))
    rows = {"in": (3, 5), "from": (4, 11.2), "to": (0.8, 4), "over": (0.8, 11.2), "off": (11, 12)}
    notes = [annotation(name, *row, unit="seconds") for name, row in rows.items()]
    every, _ = resolve(dataset(*notes), [held], 1)
    kept, _ = resolve(dataset(*notes), [held], 1, fps=Fraction(5))
    assert sorted(intervals(kept)) == sorted(intervals(every))
    assert sorted(intervals(kept)) == [
        ("from", 24, 30), ("in", 24, 25), ("off", 25, 50), ("over", 20, 30), ("to", 20, 25),
    ]  # fmt: skip
    steps = {
        clip.clip_id: sample(held.index, clip.start, clip.stop, Fraction(5), clip.shown).tolist()
        for clip in kept
    }
    assert steps == {
        "in": [24] * 10,
        "from": [24] * 35 + [25],
        "to": [20] + [24] * 15,
        "over": [20] + [24] * 50 + [25],
        "off": [25, 30, 35, 40, 45],
    }
    shown = {clip.clip_id: clip.key([held], "luma").shown for clip in kept}
    assert shown == {"in": "75 125", "from": "100 280", "to": "20 100", "over": "20 280", "off": ""}
    assert all(clip.key([held], "luma").shown == "" for clip in every)


def test_a_picture_that_stands_alone() -> None:
    still = replace(video("a"), index=replace(video("a").index, pts=np.arange(1), end=250))
    kept, _ = resolve(dataset(annotation("a", 3, 5, unit="seconds")), [still], 1, fps=Fraction(5))
    assert intervals(kept) == [("a", 0, 1)]
    assert sample(still.index, 0, 1, Fraction(5), kept[0].shown).tolist() == [0] * 10


def test_dropped_frames_change_no_clip() -> None:
    pts = np.delete(np.arange(100), [10, 11, 30, 31, 60])
    gappy = replace(video("a"), index=replace(video("a").index, pts=pts))
    notes = [annotation(f"{n}", n / 10, n / 10 + 0.5, unit="seconds") for n in range(34)]
    kept, _ = resolve(dataset(*notes), [gappy], 1, fps=Fraction(10))
    assert len(kept) == 34
    assert all(clip.shown is None for clip in kept)


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
        ({"pixel_format": "p010le"}, "full, repacked", "full"),
        ({"pixel_format": "rgb555be"}, "full", "full, repacked"),
    ],
)
def test_only_what_is_read_otherwise_than_before_has_another_key(how, luma, rgb) -> None:
    plain = video("a")
    videos = [replace(plain, index=replace(plain.index, **how))]
    clip = resolve(dataset(annotation("x", 0, 9)), videos, 1)[0][0]
    assert [clip.key(videos, mode).pixel_range for mode in ("luma", "rgb")] == [luma, rgb]


def test_seconds_that_would_pass_for_frames_are_asked_for() -> None:
    """137 s of 25 frames a second: 3,425 frames."""
    videos = [video(name, 3425) for name in ("a", "b")]
    rows = [annotation(f"{n}{v.name}", n, n + 20, name=v.name) for n in (3, 117) for v in videos]
    with pytest.raises(InputError, match=r"137 of 3425 frames;.*137 of 137\.000 s") as raised:
        resolve(dataset(*rows, unit_assumed=True), videos, 1)
    assert "--unit seconds" in str(raised.value)
    assert "--unit frames" in str(raised.value)
    assert len(resolve(dataset(*rows), videos, 1)[0]) == 4


@pytest.mark.parametrize(
    "rows",
    [
        [annotation("a", 3, 137), annotation("b", 5, 200, name="b")],
        [annotation("a", 3, 1000), annotation("b", 3000, 3425, name="b")],
        [annotation("a", None, None)],
    ],
)
def test_intervals_that_are_no_seconds_are_frames(rows: list[Annotation]) -> None:
    videos = [video(name, 3425) for name in ("a", "b")]
    assert len(resolve(dataset(*rows, unit_assumed=True), videos, 1)[0]) == len(rows)


def test_slow_images_may_be_counted() -> None:
    slow = video("a", 100, rate=2)
    assert resolve(dataset(annotation("a", 0, 40), unit_assumed=True), [slow], 1)[0]
