from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.errors import InputError
from pipeline.build.plan.sampling import frame_at, sample, windows
from pipeline.build.plan.steps import check_rate
from pipeline.video.index import VideoIndex
from pipeline.video.videos import Video


def index_of(pts, time_base=Fraction(1, 1000), last=None, **options) -> VideoIndex:
    pts = np.asarray(pts, np.int64)
    last = last or (int(pts[-1] - pts[-2]) if len(pts) > 1 else 1)
    return VideoIndex(
        pts, pts[:1] * 0, time_base, int(pts[-1]) + last, 8, 8, "gray", 8, "full", **options
    )


def slow_sample(index: VideoIndex, start: int, stop: int, fps: Fraction) -> list[int]:
    """Step by step and frame by frame, in fractions of a second."""
    times = [Fraction(int(pts)) * index.time_base for pts in [*index.pts, index.end]]
    found = []
    while True:
        wanted = times[start] + len(found) / fps
        nearest = min(range(len(times)), key=lambda n: (abs(times[n] - wanted), n))
        if nearest >= stop:
            return found
        found.append(nearest)


clocks = st.sampled_from(["1/1000", "1/90000", "1/15360", "1/30", "1001/30000", "1/1000000"])
rates = st.sampled_from(["1", "10", "29.97", "30", "1/3", "30000/1001", "23.976", "7.5", "60"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_sampling_is_nearest_in_exact_arithmetic(data: st.DataObject) -> None:
    time_base, fps = Fraction(data.draw(clocks)), Fraction(data.draw(rates))
    tick = max(1, round(1 / (30 * time_base)))
    gaps = data.draw(
        st.one_of(
            st.lists(st.integers(1, 6 * tick), min_size=1, max_size=30),
            st.integers(1, 40).map(lambda n: [tick] * n),
        )
    )
    begin = data.draw(st.integers(-5 * tick, 10**9))
    index = index_of(begin + np.cumsum([0, *gaps[:-1]]), time_base, last=gaps[-1])
    start = data.draw(st.integers(0, len(index) - 1))
    stop = data.draw(st.integers(start + 1, len(index)))

    found = sample(index, start, stop, fps)
    assert found.tolist() == slow_sample(index, start, stop, fps)
    assert found[0] == start
    assert found.max() < stop
    assert sample(index, start, stop, None).tolist() == list(range(start, stop))


def test_ties_take_the_earlier_frame() -> None:
    assert sample(index_of([0, 50, 150, 200]), 0, 4, Fraction(10)).tolist() == [0, 1, 3]


def test_a_stalled_video_repeats_the_frame_on_the_screen() -> None:
    assert sample(index_of([0, 100, 1000, 1100]), 0, 4, Fraction(5)).tolist() == [0, 1, 1, 2, 2, 2]


def test_integer_ratio_takes_every_third_frame() -> None:
    index = index_of(np.arange(31) * 512, Fraction(1, 15360))
    assert sample(index, 1, 29, Fraction(10)).tolist() == list(range(1, 29, 3))


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 25))
def test_windows(length: int, window: int, hop: int) -> None:
    frames = np.arange(100, 100 + length)
    found = windows(frames, window, hop)
    if length <= window:
        assert found.tolist() == [[*frames, *[frames[-1]] * (window - length)]]
        return
    starts = (found[:, 0] - 100).tolist()
    regular = list(range(0, length - window + 1, hop))
    assert starts == regular + [length - window] * (regular[-1] != length - window)
    assert found[-1, -1] == frames[-1]
    np.testing.assert_array_equal(found, found[:, :1] + np.arange(window))


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=20),
    st.decimals(0, 5, places=3),
    st.integers(-1000, 1000),
)
def test_frame_at_is_the_nearest_boundary(gaps: list[int], seconds, begin: int) -> None:
    bounds = np.cumsum([0, *gaps])
    index = index_of(begin + bounds[:-1], last=gaps[-1])
    wanted = 1000 * Fraction(str(float(seconds)))
    expected = min(range(len(bounds)), key=lambda n: (abs(int(bounds[n]) - wanted), n))
    assert frame_at(index.bounds, index.time_base, float(seconds)) == expected


class TestRate:
    def check(self, index: VideoIndex, fps: str | None) -> None:
        check_rate([Video("a", "data/a.mp4", "0", index)], Fraction(fps) if fps else None)

    def test_above_the_video_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"--fps is 31, and data/a.mp4 has 30 frames"):
            self.check(index_of(np.arange(10), Fraction(1, 30)), "31")

    @pytest.mark.parametrize("fps", [None, "1", "30", "29.97"])
    def test_up_to_the_video_is_fine(self, fps: str | None) -> None:
        self.check(index_of(np.arange(10) * 1001, Fraction(1, 30000)), fps)

    def test_stalls_do_not_lower_the_rate(self) -> None:
        pts = np.arange(30) * 40
        pts[20:] += 2000
        self.check(index_of(pts), "25")

    def test_images_of_unknown_rate(self) -> None:
        with pytest.raises(InputError, match="--image-fps"):
            self.check(index_of(np.arange(10), Fraction(1), timed=False), "1")
