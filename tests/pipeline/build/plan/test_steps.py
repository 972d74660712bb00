from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.format.layout import Layout
from pipeline.build.plan.clips import Clip
from pipeline.build.plan.options import BuildOptions
from pipeline.build.plan.steps import clip_inputs, columns, segments
from pipeline.video.index import VideoIndex
from pipeline.video.videos import Video

PTS = np.arange(50)
INDEX = VideoIndex(PTS + 900, PTS[:1], Fraction(1, 25), 950, 8, 8, "gray", 8, "limited")
VIDEOS = [Video(name, Path(name), name * 8, INDEX) for name in "ab"]

spans = st.tuples(st.integers(0, 1), st.integers(0, 39), st.integers(1, 10))


def clip(video: int, start: int, stop: int, label: str = "x", split: str = "train") -> Clip:
    return Clip(f"{video}:{start}-{stop}", video, start, stop, label, f"s{video}", split)


def options(backbone: str = "resnet18", **more) -> BuildOptions:
    return BuildOptions(source=None, backbone=backbone, weights="random", **more)


@given(
    st.lists(spans, min_size=1, max_size=12).map(sorted),
    st.integers(1, 17),
    st.sampled_from([("resnet18", 16), ("r3d_18", 4)]),
    st.sampled_from([None, Fraction(10)]),
)
def test_units_cover_every_row_once_and_compute_nothing_twice(spans, rows, network, fps) -> None:
    clips = [clip(video, start, start + length) for video, start, length in spans]
    inputs, _ = clip_inputs(
        clips, VIDEOS, options(network[0], window=network[1], hop=2, size=32), fps
    )
    layout = Layout(np.array([len(own) for own in inputs]), dim=8, chunk_rows=rows)
    wanted = [(c.video, *step) for c, own in zip(clips, inputs, strict=True) for step in own]

    found = []
    for first, last in layout.units():
        work = segments(clips, inputs, layout, first, last)
        assert len({segment.video for segment in work}) == len(work)
        for segment in work:
            steps = segment.inputs.tolist()
            assert steps == sorted(steps)
            assert len({tuple(step) for step in steps}) == len(steps)
            found += [(segment.video, *steps[row]) for row in segment.rows]
        assert len(found) == last
    assert found == wanted


@pytest.mark.parametrize(("frames", "repeats"), [(3, 1), (4, 0), (5, 0)])
def test_clips_shorter_than_a_window_are_counted(frames: int, repeats: int) -> None:
    video = options("r3d_18", window=4)
    assert clip_inputs([clip(0, 0, frames)], VIDEOS, video, None)[1] == repeats
    assert clip_inputs([clip(0, 0, frames)], VIDEOS, options(), None)[1] == 0


def test_columns() -> None:
    clips = [clip(0, 5, 8, "run", "val"), clip(1, 0, 10, "nap", "test")]
    inputs, _ = clip_inputs(clips, VIDEOS, options("r3d_18", window=4, hop=4), None)
    table = columns(clips, VIDEOS, ("nap", "eat", "run"), inputs, "luma")
    found = {name: values.tolist() for name, values in table.items()}
    assert found == {
        "clip_id": ["0:5-8", "1:0-10"],
        "row_size": [1, 3],
        "status": [0, 0],
        "video": [0, 1],
        "start": [5, 0],
        "stop": [8, 10],
        "label": [2, 0],
        "subject": [0, 1],
        "split": [1, 2],
        "label_name": ["nap", "eat", "run"],
        "subject_name": ["s0", "s1"],
        "split_name": ["train", "val", "test"],
        "video_name": ["a", "b"],
        "video_sha256": ["a" * 8, "b" * 8],
        "video_range": ["limited", "limited"],
        "frame": [5, 0, 4, 6],
        "time": pytest.approx([np.mean([5, 6, 7, 7]) / 25, 1.5 / 25, 5.5 / 25, 7.5 / 25]),
    }
