"""Windows over recordings, and the inputs that they share."""

from fractions import Fraction

import numpy as np
import pytest

from pipeline.build.plan.sampling import sample
from pipeline.predict.windows import default_hop, slide
from pipeline.video.index import VideoIndex


def index_of(frames: int, rate: int = 30, *, times: np.ndarray | None = None) -> VideoIndex:
    pts = np.arange(frames, dtype=np.int64) if times is None else times
    end = int(pts[-1] + (1 if times is None else np.median(np.diff(times))))
    base = Fraction(1, rate) if times is None else Fraction(1, 1000)
    return VideoIndex(pts, np.zeros(1, np.int64), base, end, 64, 48, "gray", 8, "full")


@pytest.mark.parametrize("fps", [None, Fraction(15), Fraction(8), Fraction(7)])
@pytest.mark.parametrize(("window", "hop"), [(1.0, 0.5), (0.7, 0.3), (2.0, 2.0), (0.4, 0.9)])
def test_windows_share_the_frames_of_one_sampling(fps, window: float, hop: float) -> None:
    index = index_of(100)
    found = slide(index, fps, window, hop, None)
    grid = sample(index, 0, 100, fps)
    assert set(found.inputs[:, 0].tolist()) <= set(grid.tolist())
    for start, stop, rows in zip(found.start, found.stop, found.rows, strict=True):
        frames = found.inputs[rows, 0]
        assert frames.tolist() == [frame for frame in grid if start <= frame < stop]
    if hop <= window:
        assert len(found.inputs) == len(grid)
        assert found.end[-1] == pytest.approx(100 / 30)
    assert (np.diff(found.begin) > 0).all()
    np.testing.assert_allclose(found.end - found.begin, window, atol=1 / 30)


def test_a_recording_shorter_than_a_window_is_one() -> None:
    found = slide(index_of(10), None, 5.0, 1.0, None)
    assert (found.start.tolist(), found.stop.tolist()) == ([0], [10])


def test_windows_of_a_variable_rate_have_the_frames_of_their_times() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.integers(60, 160, 80)).astype(np.int64)
    index = index_of(80, times=times)
    found = slide(index, None, 2.0, 1.0, None)
    assert len(found.inputs) == 80
    for begin, end, rows in zip(found.begin, found.end, found.rows, strict=True):
        seconds = index.seconds[found.inputs[rows, 0]]
        assert begin - 1e-9 <= seconds.min() <= seconds.max() < end


def test_inputs_of_a_video_backbone_are_computed_once() -> None:
    found = slide(index_of(120), Fraction(15), 2.0, 0.4, (8, 2))
    assert found.inputs.shape[1] == 8
    assert len({tuple(row) for row in found.inputs.tolist()}) == len(found.inputs)
    assert sum(map(len, found.rows)) > 2 * len(found.inputs)
    for start, stop, rows in zip(found.start, found.stop, found.rows, strict=True):
        frames = found.inputs[rows]
        assert start <= frames.min() <= frames.max() < stop


def test_default_hop_is_whole_steps() -> None:
    assert default_hop(1.37, Fraction(8)) == 0.75
    assert default_hop(0.01, Fraction(8)) == 0.125
