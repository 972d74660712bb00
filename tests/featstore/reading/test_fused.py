"""Several stores read as one, compared with a loop over clips and steps."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featstore
from featstore import InputError, Store
from featstore.format.codecs import Codec
from featstore.reading.alignment import nearest
from tests.views import LENGTHS, RATE, write_view


def loop_over_steps(first: Store, other: Store, clip: int, their: int, *, same: bool) -> np.ndarray:
    """The features of a clip, one step after the other."""
    times, known = first.times(clip), other.times(their)
    if not same:
        times = times - (first.start[clip] + first.stop[clip]) / 2 / RATE
        known = known - (other.start[their] + other.stop[their]) / 2 / RATE
    rows = []
    for step, time in enumerate(times):
        best = min(range(len(known)), key=lambda k: (round(abs(known[k] - time), 9), k))
        rows.append(np.concatenate([first[clip][step], other[their][best]]))
    return np.stack(rows)


def test_two_backbones_of_the_same_steps_stand_side_by_side(tmp_path: Path) -> None:
    one = write_view(tmp_path / "one.zarr")
    two = write_view(tmp_path / "two.zarr", dim=3)
    both = featstore.fuse([one, two])
    assert (len(both), both.dim, both.stores) == (5, 7, (one, two))
    for clip in range(5):
        np.testing.assert_array_equal(both[clip], np.hstack([one[clip], two[clip]]))
        assert not both[clip].flags.writeable
    for name in ("clip_ids", "labels", "subjects", "splits", "videos", "row_size", "start"):
        np.testing.assert_array_equal(getattr(both, name), getattr(one, name))
    np.testing.assert_array_equal(both.times(3), one.times(3))
    assert both.classes == one.classes
    assert both.missing == ()


@pytest.mark.parametrize("every", [1, 2, 4, 7])
@pytest.mark.parametrize("window", [1, 6])
@pytest.mark.parametrize("late", [0, 13])
def test_steps_are_joined_by_time(tmp_path: Path, every: int, window: int, late: int) -> None:
    one = write_view(tmp_path / "one.zarr")
    video = "ff" if late else "00"  # another camera has another video
    two = write_view(tmp_path / "two.zarr", every=every, window=window, late=late, video=video)
    for first, other in ((one, two), (two, one)):
        both = featstore.fuse([first, other])
        for clip in range(5):
            wanted = loop_over_steps(first, other, clip, clip, same=not late)
            np.testing.assert_array_equal(both[clip], wanted)


def numbered(
    path: Path, *, every: int = 1, lengths: Sequence[int] = (30, 31), **options: Any
) -> Store:
    """A camera's store whose features are the frames of its steps, counted by clip."""
    rows = np.concatenate([np.arange(0, length, every) for length in lengths])[:, None]
    return write_view(
        path, every=every, lengths=lengths, features=rows, dim=1, video=path.stem, **options
    )


def beside(first: Store, other: Store) -> list[list[int]]:
    """The frame of the other store that stands beside each step."""
    return [clip[:, -1].astype(int).tolist() for clip in featstore.fuse([first, other])]


EVERY_6 = [[0, 6, 12, 18, 24], [0, 6, 12, 18, 24, 30]]
IMAGES = {"window": None}  # what a build says of steps that are frames


@pytest.mark.parametrize(("configuration", "late"), [(None, 13), (IMAGES, 13), (IMAGES, 50)])
def test_steps_of_other_rates_are_of_the_same_moments(
    tmp_path: Path, configuration: dict[str, Any] | None, late: int
) -> None:
    few = numbered(tmp_path / "few.zarr", every=6, configuration=configuration)
    all_ = numbered(tmp_path / "all.zarr", late=late, configuration=configuration)
    assert beside(few, all_) == EVERY_6


def test_times_may_be_rounded_in_a_long_video(tmp_path: Path) -> None:
    options: dict[str, Any] = {"late": -30_000, "every": 4, "window": 15, "lengths": [61] * 40}
    exact = write_view(tmp_path / "exact.zarr", **options)
    rounded = np.round(exact.columns["time"], 3)
    windows = write_view(tmp_path / "windows.zarr", time=rounded, **options)
    frames = numbered(tmp_path / "frames.zarr", lengths=[61] * 40)
    for own in (exact, windows):
        assert beside(own, frames) == [[*range(7, 52, 4), 53]] * 40


def test_rates_may_vary_within_a_video(tmp_path: Path) -> None:
    frames = np.concatenate([np.arange(50, 80, 6), np.arange(150, 181, 6)])
    paused = frames / RATE + 5 + 7.3 * (frames > 100)  # twice, no frames for a while
    few = numbered(tmp_path / "few.zarr", every=6, configuration=IMAGES, time=paused)
    assert beside(few, numbered(tmp_path / "all.zarr", late=13)) == EVERY_6


def test_times_may_count_from_the_beginning_of_each_clip(tmp_path: Path) -> None:
    own = [np.arange(5) / 5, np.arange(6) / 5]
    few = numbered(tmp_path / "few.zarr", every=6, videos=[0, 1], time=np.concatenate(own))
    assert beside(few, numbered(tmp_path / "all.zarr", late=13)) == EVERY_6


def test_without_an_interval_the_middles_of_all_steps_are_joined(tmp_path: Path) -> None:
    steps = np.array([5, 6])
    counted = {
        "start": 0 * steps,
        "stop": steps,
        "frame": np.concatenate([np.arange(n) for n in steps]),
        "time": np.concatenate([np.arange(n) / 5 for n in steps]),
    }
    few = numbered(tmp_path / "few.zarr", every=6, videos=[0, 1], **counted)
    all_ = numbered(tmp_path / "all.zarr", late=13)
    assert beside(few, all_) == [[2, 8, 14, 20, 26], EVERY_6[1]]


def test_windows_longer_than_their_clips_lie_on_the_middle(tmp_path: Path) -> None:
    times = np.array([50 + 27.2, 150 + 28]) / RATE  # their last frame is repeated, and counts so
    long = numbered(tmp_path / "long.zarr", every=40, time=times)
    assert beside(long, numbered(tmp_path / "all.zarr", late=13)) == [[15], [15]]
    # Of a single step in a video nobody knows how long a frame is.
    alone = numbered(tmp_path / "alone.zarr", every=40, lengths=[30])
    assert beside(alone, numbered(tmp_path / "one.zarr", late=13, lengths=[30])) == [[14]]


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_way_to_read_gives_the_same(tmp_path: Path, compression: str, dtype: str) -> None:
    one = write_view(tmp_path / "one.zarr")
    order = np.array([3, 0, 4, 2, 1])  # the other store has the clips in another order
    two = write_view(
        tmp_path / "two.zarr",
        codec=Codec(dtype, compression),
        lengths=[LENGTHS[clip] for clip in order],
        video="ff",
        **{name: one.columns[name][order] for name in ("clip_id", "label", "subject", "split")},
    )
    both = featstore.fuse([one, two])
    assert both.dtype == "float32"
    clips = [
        loop_over_steps(one, two, clip, int(np.flatnonzero(order == clip)[0]), same=False)
        for clip in range(5)
    ]
    rows, steps = np.concatenate(clips), both.layout.steps
    for start, stop in ((0, steps), (0, 0), (5, 6), (9, 33), (steps - 1, steps)):
        np.testing.assert_array_equal(both.rows.span(start, stop), rows[start:stop])
    for batch in both.stream(2, 0):
        for place, clip in enumerate(batch.clips):
            np.testing.assert_array_equal(batch.features[place][batch.mask[place]], clips[clip])
    index = (np.arange(4) * 2 + 1) * len(clips[3]) // 8
    np.testing.assert_array_equal(both.batch(np.array([3]), steps=4).features[0], clips[3][index])
    twice = pickle.loads(pickle.dumps(both))  # noqa: S301 - our own
    np.testing.assert_array_equal(twice[1], clips[1])
    assert twice.key == both.key
    np.testing.assert_array_equal(both.to_xarray()["features"], rows)
    assert both.to_pandas()["steps"].tolist() == both.row_size.tolist()
    features, label = both.torch_dataset()[2]
    np.testing.assert_array_equal(features.numpy(), clips[2])
    assert label == one.labels[2]


def test_key_is_of_all_stores_in_their_order(tmp_path: Path) -> None:
    stores = [write_view(tmp_path / f"{name}.zarr") for name in ("one", "two", "three")]
    orders = ([0, 1], [1, 0], [0, 2], [0, 1, 2])
    keys = {featstore.fuse([stores[n] for n in order]).key for order in orders}
    assert len(keys) == 4
    assert featstore.fuse(stores[:2]).key in keys


def some(store: Store, clips: list[int], path: Path) -> Store:
    """What another camera has of some of the clips."""
    names = ("clip_id", "label", "subject", "split")
    chosen = {name: store.columns[name][clips] for name in names}
    return write_view(path, lengths=[LENGTHS[clip] for clip in clips], video=path.stem, **chosen)


def test_missing_clips_are_refused_with_counts_and_names(tmp_path: Path) -> None:
    one = write_view(tmp_path / "one.zarr")
    two = some(one, [0, 1, 2, 4], tmp_path / "two.zarr")
    with pytest.raises(InputError, match=r"1 of 5 clips .*two\.zarr,.*run/é3.*--allow-miss"):
        featstore.fuse([one, two])
    three = some(one, [1, 2, 3, 4], tmp_path / "three.zarr")
    with pytest.raises(InputError, match=r"three\.zarr,.*run/é0; 1 of 5.*two\.zarr"):
        featstore.fuse([three, two])
    both = featstore.fuse([two, three], allow_missing=True)
    assert both.clip_ids.tolist() == ["run/é1", "run/é2", "run/é4"]
    assert [line.split(" failed")[0] for line in both.missing] == ["1 of 5 clips"] * 2
    np.testing.assert_array_equal(both[1], loop_over_steps(two, three, 2, 1, same=False))
    nothing = [some(one, [n], tmp_path / f"of{n}.zarr") for n in (0, 1)]
    for allowed in (False, True):
        with pytest.raises(InputError, match=r"common.*run/é0, run/é1.*clip_id"):
            featstore.fuse(nothing, allow_missing=allowed)


def test_clips_that_failed_are_missing_unless_they_failed_everywhere(tmp_path: Path) -> None:
    one = write_view(tmp_path / "one.zarr", status=np.array([0, 1, 0, 1, 0]))
    two = write_view(tmp_path / "two.zarr", status=np.array([0, 1, 1, 0, 0]))
    with pytest.raises(InputError, match=r"1 of 4 .*one\.zarr,.*run/é3; .*run/é2"):
        featstore.fuse([one, two])
    both = featstore.fuse([one, two], allow_missing=True)
    assert both.clip_ids.tolist() == ["run/é0", "run/é1", "run/é4"]
    assert both.status.tolist() == [0, 1, 0]
    assert both.row_size.tolist() == [10, 0, 3]
    assert both.usable.tolist() == [0, 2]
    np.testing.assert_array_equal(both[2], np.hstack([one[4], two[4]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.array([0, 0, 0, 1, 0])}, "é1: its label is walk in .*one.zarr and sit in"),
        (
            {"subject": np.array([0, 1, 2, 0, 2])},
            "é4: its subject is bob in .* and cid in .*1 of 5",
        ),
        ({"split": np.array([1, 0, 2, 0, 1])}, r"é0: its split is train in .* val in .*\(2 of 5"),
        ({"label_name": np.array(["walk", "sit", "never"])}, "3 and 3, in another order"),
        ({"label_name": np.array(["sit", "walk", "once"])}, "in one only, such as never, once"),
        ({"subjects_known": False}, "has the subjects of its clips"),
    ],
)
def test_stores_that_disagree_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    one = write_view(tmp_path / "one.zarr")
    two = write_view(tmp_path / "two.zarr", **changes)
    with pytest.raises(InputError, match=message):
        featstore.fuse([one, two], allow_missing=True)


def test_videos_that_stand_in_for_subjects_may_differ(tmp_path: Path) -> None:
    one = write_view(tmp_path / "one.zarr", subjects_known=False)
    two = write_view(
        tmp_path / "two.zarr", subjects_known=False, subject_name=np.array(["x", "y", "z"])
    )
    assert featstore.fuse([one, two]).subjects.tolist() == one.subjects.tolist()


def test_what_cannot_be_fused(tmp_path: Path) -> None:
    one = write_view(tmp_path / "one.zarr")
    with pytest.raises(InputError, match="1 store cannot be fused"):
        featstore.fuse([one])
    with pytest.raises(InputError, match="are the same store"):
        featstore.fuse([one, featstore.open(one.path)])


@pytest.mark.parametrize(("longer", "refused"), [(0, False), (3, False), (4, True), (-5, True)])
@pytest.mark.parametrize("video", ["00", "ff"])
def test_clips_of_other_lengths_are_refused(
    tmp_path: Path, longer: int, refused: bool, video: str
) -> None:
    one = write_view(tmp_path / "one.zarr")
    lengths = [*LENGTHS[:3], LENGTHS[3] + longer, LENGTHS[4]]
    two = write_view(tmp_path / "two.zarr", lengths=lengths, video=video)
    if not refused:
        assert len(featstore.fuse([one, two])) == 5
        return
    with pytest.raises(InputError, match=r"1 of 5 clips differ.*run/é3"):
        featstore.fuse([one, two])


def test_clips_that_lie_elsewhere_in_the_same_video_are_refused(tmp_path: Path) -> None:
    one = write_view(tmp_path / "one.zarr")
    moved = write_view(tmp_path / "two.zarr", late=20)
    with pytest.raises(InputError, match="5 of 5 clips differ"):
        featstore.fuse([one, moved])


@pytest.mark.parametrize(("more", "refused"), [(0, False), (3, False), (6, True)])
def test_without_times_steps_are_counted(tmp_path: Path, more: int, refused: bool) -> None:
    one = write_view(tmp_path / "one.zarr")
    lengths = [*LENGTHS[:3], LENGTHS[3] + more, LENGTHS[4]]
    steps = sum(-(-length // 3) for length in lengths)
    two = write_view(tmp_path / "two.zarr", lengths=lengths, time=np.full(steps, np.nan))
    if refused:
        with pytest.raises(InputError, match="differ by more than a step"):
            featstore.fuse([one, two])
        return
    both = featstore.fuse([one, two])
    np.testing.assert_array_equal(both[1], np.hstack([one[1], two[1]]))
    assert both.row_size.tolist() == one.row_size.tolist()


def test_nearest_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    sizes, known_sizes = rng.integers(1, 9, (2, 50))
    times = [np.sort(rng.integers(-5, 20, n) / 4) for n in sizes]  # many ties
    known = [np.sort(rng.integers(-5, 20, n) / 4) for n in known_sizes]
    found = nearest(np.concatenate(times), sizes, np.concatenate(known), known_sizes)
    ends = known_sizes.cumsum() - known_sizes
    wanted = [
        end + int(np.abs(theirs - time).argmin())  # the first of equals
        for own, theirs, end in zip(times, known, ends, strict=True)
        for time in own
    ]
    assert found.tolist() == wanted
