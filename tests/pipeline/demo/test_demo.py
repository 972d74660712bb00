"""The drawn data set: its layout, its bytes, and that only order tells its pairs apart."""

from __future__ import annotations

import csv
import hashlib
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from featstore.errors import InputError
from pipeline.demo import draw, draw_demo
from pipeline.demo import film as film_module
from pipeline.demo.activities import REVERSED, Take, poses_of
from pipeline.demo.cabin import draw_cabin
from pipeline.demo.figure import render
from pipeline.demo.film import film_all
from pipeline.demo.people import make_people
from pipeline.demo.schedule import Video, plan_videos
from pipeline.demo.views import VIEWS
from pipeline.sources.driveact import DriveAct
from tests.folders import ROOT

CLIPS = 60
COLUMNS = [
    "participant_id",
    "file_id",
    "annotation_id",
    "frame_start",
    "frame_end",
    "activity",
    "chunk_id",
]
OFFICIAL = {
    0: ({5, 11, 13}, {14, 15}),
    1: ({9, 10, 12}, {3, 8}),
    2: ({4, 6, 7}, {1, 2}),
}
UNSPLIT = {"standing_by_the_door", "closing_backpack"}


def drawn(directory: Path, *, workers: int = 1, views: int = 1) -> Path:
    """Draw the data set; pictures stand still, for drawing them is what takes the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "film_all", partial(film_all, hold=30))
        draw_demo(directory, seed=3, clips=CLIPS, workers=workers, views=views, log=print)
    return directory


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("demo") / "drawn")


def rows(directory: Path, name: str = "") -> list[dict[str, str]]:
    path = directory / "activities_3s" / "kinect_ir" / f"midlevel.chunks_90{name}.csv"
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        return list(reader)


def digests(directory: Path) -> dict[str, str]:
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_layout_is_the_official_one(demo: Path) -> None:
    assert {p.name for p in demo.iterdir()} == {"kinect_ir", "activities_3s"}
    names = {p.name for p in (demo / "activities_3s" / "kinect_ir").iterdir()}
    parts = {f".split_{s}.{part}" for s in range(3) for part in ("train", "val", "test")}
    assert names == {f"midlevel.chunks_90{n}.csv" for n in parts | {""}}
    for row in rows(demo):
        assert row["file_id"].startswith(f"vp{row['participant_id']}/run")
        assert row["file_id"].endswith(".kinect_ir")
        assert (demo / "kinect_ir" / f"{row['file_id']}.mp4").is_file()


@pytest.mark.parametrize("split", [0, 1, 2])
def test_splits_hold_the_official_participants(demo: Path, split: int) -> None:
    test, val = OFFICIAL[split]
    train = set(range(1, 16)) - test - val
    expected = {"train": train, "val": val, "test": test}
    found = {part: rows(demo, f".split_{split}.{part}") for part in expected}
    for part, people in expected.items():
        assert {int(r["participant_id"]) for r in found[part]} == people
    assert sum(len(part) for part in found.values()) == CLIPS
    activities = {r["activity"] for part in found.values() for r in part}
    for part in ("train", "test"):
        assert {r["activity"] for r in found[part]} == activities
    assert not activities & UNSPLIT
    assert {r["activity"] for r in rows(demo)} - activities == UNSPLIT


def test_chunks_lie_in_their_videos_and_do_not_overlap(demo: Path) -> None:
    ends = {}
    for path in sorted((demo / "kinect_ir").rglob("*.mp4")):
        with av.open(path) as container:
            ends[f"{path.parent.name}/{path.stem}"] = container.streams.video[0].frames
    last: dict[str, int] = {}
    gaps = 0
    for row in rows(demo):
        start, end = int(row["frame_start"]), int(row["frame_end"])
        assert 0 < end - start <= 90
        assert last.get(row["file_id"], 0) <= start < end <= ends[row["file_id"]]
        gaps += start > last.get(row["file_id"], 0)
        last[row["file_id"]] = end
    assert len(ends) == 29
    assert gaps > 10


def test_videos_are_infrared_in_the_luma_plane(demo: Path) -> None:
    path = min((demo / "kinect_ir").rglob("*.mp4"), key=lambda p: p.stat().st_size)
    with av.open(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.width, context.height) == ("h264", 128, 106)
        assert stream.average_rate == 30
        assert context.pix_fmt == "yuv420p"
        assert context.color_range == 1  # limited
        frames = list(container.decode(stream))
    keys = [k for k, frame in enumerate(frames) if frame.key_frame]
    assert keys == list(range(0, len(frames), 30))
    stamps = [frame.pts or 0 for frame in frames]
    assert stamps == sorted(set(stamps))
    planes = frames[0].to_ndarray()
    assert planes[:106].std() > 10
    assert np.abs(planes[106:].astype(int) - 128).max() <= 1


def test_bytes_do_not_depend_on_the_workers(demo: Path, tmp_path: Path) -> None:
    assert digests(drawn(tmp_path / "by two", workers=2)) == digests(demo)


@pytest.fixture(scope="module")
def two_views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("views") / "drawn", views=2)


def test_a_second_camera_leaves_the_first_as_it_was(demo: Path, two_views: Path) -> None:
    found = digests(two_views)
    assert {name: found[name] for name in digests(demo)} == digests(demo)
    assert len(found) == 2 * len(digests(demo))
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("split", [0, 2])
def test_views_have_the_same_clips_in_frames_of_their_own(two_views: Path, split: int) -> None:
    first, second = (
        {clip.clip_id: clip for clip in DriveAct(data=two_views, view=view, split=split)
         .read().annotations}
        for view in ("kinect_ir", "a_column_driver")
    )  # fmt: skip
    assert len(first) == CLIPS
    assert first.keys() == second.keys()
    for name, clip in first.items():
        other = second[name]
        assert other.path.is_file()
        assert other.path != clip.path
        for field in ("label", "subject", "split"):
            assert getattr(clip, field) == getattr(other, field)
        assert clip.start is not None
        assert clip.stop is not None
        assert (other.start, other.stop) == (clip.start - 5, clip.stop - 5)


def test_the_second_camera_looks_from_the_other_side() -> None:
    x = np.tile(np.arange(128, dtype=np.uint8), (106, 1))
    y = np.tile(np.arange(106, dtype=np.uint8)[:, None], (1, 128))
    here, there = VIEWS
    np.testing.assert_array_equal(here.see(x), x)
    np.testing.assert_array_equal(here.see(y), y)
    seen, down = there.see(x).astype(int), there.see(y).astype(int)
    assert (np.diff(seen, axis=1) <= 0).all()
    assert (seen[0, 0] - seen[0, -1], seen[0, 64]) == (101, 63)  # 127 / 1.25
    assert down[0, 0] > 10
    assert down[-1, 0] == 103


def test_seed_changes_the_plan() -> None:
    assert plan_videos(0, CLIPS)[0].rows() != plan_videos(1, CLIPS)[0].rows()


def test_full_size_has_a_heavy_majority_short_clips_and_every_class_everywhere() -> None:
    drawn = [row for video in plan_videos(0, 600) for row in video.rows()]
    official = [row for row in drawn if row.activity not in UNSPLIT]
    counts = Counter(row.activity for row in official)
    assert len(official) == 600
    assert 0.25 < counts["sitting_still"] / 600 < 0.35
    assert len(counts) == 14
    assert 3 < sum(row.frame_end - row.frame_start < 8 for row in official) < 30
    long = [r for r in official if r.frame_end - r.frame_start >= 8]
    for test, val in OFFICIAL.values():
        held = test | val
        assert {r.activity for r in long if r.participant_id in test} == set(counts)
        assert {r.activity for r in long if r.participant_id not in held} == set(counts)
    for backward, forward in REVERSED.items():
        assert counts[backward] == counts[forward]
    assert sum(video.frames for video in plan_videos(0, 600)) < 45_000


@pytest.mark.parametrize("backward", sorted(REVERSED))
def test_a_reversed_pair_has_the_same_frames_in_opposite_orders(backward: str) -> None:
    person, camera = make_people(0)[7]
    cabin = draw_cabin(person, camera)

    def frames(activity: str) -> npt.NDArray[np.uint8]:
        take = Take(activity=activity, frames=30, seed=5, belt=False)
        return np.stack([render(cabin, person, pose) for pose in poses_of(take, person)])

    there, back = frames(REVERSED[backward]), frames(backward)
    np.testing.assert_array_equal(there, back[::-1])
    assert np.abs(there[0].astype(int) - there[-1]).max() > 60


def test_short_takes_can_be_acted() -> None:
    person, _ = make_people(0)[1]
    assert len(poses_of(Take(activity="sitting_still", frames=1, seed=0), person)) == 1


def _pictures(people: range, activities: tuple[str, str], seed: int) -> npt.NDArray[np.float64]:
    """Small pictures, ``(clip, step, pixel)``; each person's clips are of one, then the other."""
    rng = np.random.default_rng(seed)
    cast = make_people(0)
    clips = []
    for number in people:
        person, camera = cast[number]
        cabin = draw_cabin(person, camera)
        for _ in range(2):
            take = int(rng.integers(2**31)), bool(rng.random() < 0.5)
            for activity in activities:
                acted = Take(activity=activity, frames=43, seed=take[0], sunglasses=take[1])
                poses = poses_of(acted, person)[::6]
                small = [render(cabin, person, p)[:104].reshape(13, 8, 16, 8) for p in poses]
                clips.append([s.mean((1, 3)).ravel() for s in small])
    noise = rng.normal(0, 1.0, np.shape(clips))
    return np.asarray(clips) + noise


def _accuracy(train: npt.NDArray[np.float64], test: npt.NDArray[np.float64]) -> float:
    """Test accuracy of ridge regression onto -1 and +1, in its dual form."""
    mean = train.mean(0)
    train, test = train - mean, test - mean
    target = np.tile([-1.0, 1.0], len(train) // 2)
    gram = train @ train.T
    weight = np.linalg.solve(gram + 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram)), target)
    guess = np.sign(test @ train.T @ weight)
    return float((guess == np.tile([-1.0, 1.0], len(test) // 2)).mean())


@pytest.mark.parametrize("pair", sorted(REVERSED.items()))
def test_only_order_tells_a_pair_apart(pair: tuple[str, str]) -> None:
    train, test = _pictures(range(1, 10), pair, 0), _pictures(range(10, 16), pair, 1)
    without_order = _accuracy(train.mean(1), test.mean(1))
    with_order = _accuracy(train.reshape(len(train), -1), test.reshape(len(test), -1))
    assert 0.25 <= without_order <= 0.75
    assert with_order >= 0.9


@pytest.mark.parametrize("taken", ["folder", "file"])
def test_what_is_there_is_left_alone(tmp_path: Path, taken: str) -> None:
    target = tmp_path / "data"
    kept = target if taken == "file" else target / "mine.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(InputError, match="name a folder that does not exist yet"):
        draw_demo(target, clips=CLIPS, log=lambda line: None)
    assert kept.read_text() == "mine"


@pytest.mark.parametrize(("clips", "workers"), [(59, 1), (60, 0)])
def test_too_little_is_refused_before_anything_is_written(
    tmp_path: Path, clips: int, workers: int
) -> None:
    with pytest.raises(InputError, match="ask for"):
        draw_demo(tmp_path / "new" / "data", clips=clips, workers=workers, log=lambda line: None)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(film_module, "write_video", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_demo(tmp_path / "data", clips=CLIPS, workers=1, log=lambda line: None)
    assert not list(tmp_path.iterdir())


def test_every_video_has_noise_of_its_own(tmp_path: Path) -> None:
    """Two runs of one participant with equal takes differ in nothing but their noise."""
    take = Take(activity="eating", frames=4, seed=1)
    names = ["vp1/run1.kinect_ir", "vp1/run2.kinect_ir"]
    videos = [Video(1, name, [(2, take)], 8) for name in names]
    film_all(tmp_path, videos, seed=0, workers=1, log=lambda line: None)
    one, other = ((tmp_path / f"{name}.mp4").read_bytes() for name in names)
    assert one != other


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks into /proc")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_processes_that_draw_end_with_their_parent(tmp_path: Path, end: signal.Signals) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", DRAW, str(tmp_path / "drawn")],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        # A shell's background job ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    processes: set[int] = set()
    while len(processes) < 3:  # two, and what watches multiprocessing's resources
        assert child.poll() is None
        processes = {int(p) for p in children(child.pid).read_text().split()}
    while not any((tmp_path / "drawn").rglob(".*.mp4")):
        assert child.poll() is None
    child.send_signal(end)
    assert child.wait() != 0
    while any(state(pid) not in "ZX" for pid in processes):
        time.sleep(0.01)


DRAW = """
import sys
from pathlib import Path
from pipeline.demo.activities import Take
from pipeline.demo.film import film_all
from pipeline.demo.schedule import Video
if __name__ == "__main__":
    takes = [(2, Take(activity="eating", frames=1, seed=1))]  # the rest is a gap
    videos = [Video(1, f"vp1/run{n}.kinect_ir", takes, 10**6) for n in range(2)]
    film_all(Path(sys.argv[1]), videos, seed=0, workers=2, hold=10**6, log=lambda line: None)
"""


def children(pid: int) -> Path:
    return Path(f"/proc/{pid}/task/{pid}/children")


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
