"""Frames that do not decode: their clips fail, whole, by name, and nothing stands in for them."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from featstore import InputError, Store
from featstore.format import layout
from featstore.manage.verify import verify
from pipeline.build.extract.batching import UnitFeatures
from pipeline.build.plan.options import BuildOptions
from pipeline.cli import main
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from pipeline.video import decoders
from pipeline.video.decode import decode
from pipeline.video.errors import DecodeError
from tests.builds import FRAMES, build, options_of, row, write_dataset
from tests.pipeline.build.test_build import checksums
from tests.pipeline.video.test_index import audio_only, without_frames
from tests.videos import GOP_8, textured, write_table, write_two_sizes, write_video

PARTS = ("train", "val", "test")
ROWS = [row(f"{part}.mp4", 6 * n, 6 * n + 6, part, "ab"[n % 2]) for part in PARTS for n in range(4)]
FIXED: dict[str, Any] = {"normalise": "0.4,0.2", "max_failures": "4"}


def write_three(folder: Path) -> Path:
    folder.mkdir()
    for seed, part in enumerate(PARTS):
        options = GOP_8 | {"movflags": "faststart"}
        write_video(folder / f"{part}.mp4", textured(FRAMES, seed=seed), options=options)
    return write_table(folder / "clips.csv", ROWS)


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_three(tmp_path_factory.mktemp("undamaged") / "data")


@pytest.fixture
def data(undamaged: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(undamaged.parent, tmp_path / "data") / undamaged.name


@pytest.fixture(scope="module")
def whole(undamaged: Path) -> Store:
    """The same clips of videos that are not damaged."""
    return build(options_of(undamaged, undamaged.parents[1] / "w", normalise="0.4,0.2"))


def damage(path: Path, first: float, last: float) -> None:
    """Zero a part of the pictures' data, which are the last thing in the file."""
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    begin, end = (start + int((len(content) - start) * share) for share in (first, last))
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)


def failed_clips(store: Store) -> list[str]:
    return store.clip_ids[store.status != 0].tolist()


@pytest.mark.parametrize("chunk_rows", [1, 4, 5, 1000])
@pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
def test_clips_of_lost_frames_fail_whole_and_others_are_untouched(
    tmp_path, data, whole, chunk_rows: int, store_format: str, monkeypatch
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * chunk_rows)
    damage(data.parent / "val.mp4", 0.4, 0.6)
    store = build(options_of(data, tmp_path / "features", format=store_format, **FIXED))
    failed = failed_clips(store)
    assert failed
    assert all(clip.startswith("val") for clip in failed)
    assert list(store.attributes["failed"]) == failed
    reasons = set(store.attributes["failed"].values())
    assert all(re.fullmatch(r"frame \d+ did not decode \(.+\)", why) for why in reasons)
    for clip in range(len(store)):
        if store.status[clip]:
            assert np.isnan(store[clip]).all()
            assert clip not in store.usable
        else:
            np.testing.assert_array_equal(store[clip], whole[clip])
    assert list(verify(store.path)) == []


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_file_that_ends_too_early(tmp_path, data, whole, share: float) -> None:
    path = data.parent / "test.mp4"
    damage(path, share, 1)
    store = build(options_of(data, tmp_path / "features", **FIXED))
    assert failed_clips(store)[-1] == "test#18-24"
    for clip in store.usable.tolist():
        np.testing.assert_array_equal(store[clip], whole[clip])


UNREADABLE = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a video\n" * 100),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:2000]),
    "zeros": lambda path: path.write_bytes(bytes(10_000)),
    "sound": audio_only,
    "no frames": without_frames,
    "no decoder": lambda path: path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz")),
}


# Every harm once, and every part in chunks of both sizes.
HARMED = [(harm, PARTS[n % 3], (4, 1000)[n % 2]) for n, harm in enumerate(UNREADABLE)]


@pytest.mark.parametrize(("harm", "part", "chunk_rows"), HARMED)
def test_videos_that_cannot_be_read(
    tmp_path, data, whole, harm: str, part: str, chunk_rows: int, monkeypatch
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * chunk_rows)
    UNREADABLE[harm](data.parent / f"{part}.mp4")
    with pytest.raises(InputError, match=rf"{part}\.mp4"):
        build(options_of(data, tmp_path / "features", normalise="0.4,0.2"))
    store = build(options_of(data, tmp_path / "features", **FIXED))
    assert failed_clips(store) == [f"{part}#{n}-{n + 6}" for n in range(0, 24, 6)]
    reasons = set(store.attributes["failed"].values())
    assert all(reason.startswith("the video") for reason in reasons), reasons
    assert str(tmp_path) not in str(reasons)
    assert store.row_size[store.status != 0].tolist() == [0] * 4
    by_id = {str(name): number for number, name in enumerate(whole.clip_ids)}
    for clip in store.usable.tolist():
        np.testing.assert_array_equal(store[clip], whole[by_id[str(store.clip_ids[clip])]])
    assert sum(len(batch.clips) for batch in store.stream(3, 0)) == 8
    assert all(len(clip) in (0, 6) for clip in store)
    assert list(verify(store.path)) == []


@pytest.mark.parametrize(("unit", "scale"), [("frames", 1), ("seconds", 1 / 10)])
def test_clips_behind_the_end_of_a_video(tmp_path, unit: str, scale: float) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_video(folder / "one.mp4", textured(FRAMES), rate=10)
    spans = [(0, 6, "train"), (6, 12, "val"), (12, 18, "test"), (18, FRAMES + 6, "train")]
    rows = [
        row("one.mp4", first * scale, last * scale, part, "ab"[number % 2])
        for number, (first, last, part) in enumerate(spans)
    ]
    given: dict[str, Any] = {"normalise": "0.4,0.2", "source": {"unit": unit}}
    table = write_table(folder / "clips.csv", rows)
    with pytest.raises(InputError, match="1 of 4 clips"):
        build(options_of(table, tmp_path / "f", **given))
    store = build(options_of(table, tmp_path / "f", max_failures="1", **given))
    (late,) = failed_clips(store)
    assert store.row_size[store.status != 0].tolist() == [0]
    assert "are asked for" in store.attributes["failed"][late]
    without = write_table(folder / "without.csv", rows[:3])
    alone = build(options_of(without, tmp_path / "g", **given))
    assert all(np.array_equal(store[number], alone[number]) for number in range(3))


def test_lost_frames_in_the_middle_fail_what_lies_behind(tmp_path, data, whole) -> None:
    table = data.read_text("utf-8").replace("val.mp4", "val.mkv")
    data.write_text(table, "utf-8")
    path = data.with_name("val.mkv")
    options = {"options": GOP_8, "container": {"cluster_time_limit": "200"}}
    write_video(path, textured(FRAMES, seed=1), **options)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"val\.mkv.*damaged:.*missing"):
        build(options_of(data, tmp_path / "features", normalise="0.4,0.2"))
    store = build(options_of(data, tmp_path / "features", **FIXED))
    assert failed_clips(store) == [f"val#{n}-{n + 6}" for n in range(0, 24, 6)]
    assert all("is damaged" in reason for reason in store.attributes["failed"].values())


def test_names_and_sizes_do_not_matter(tmp_path, data) -> None:
    """A video under the name of another format, and one whose frames change their size."""
    data.write_text(data.read_text("utf-8").replace("val.mp4", "val.avi"), "utf-8")
    (data.parent / "val.mp4").rename(data.parent / "val.avi")
    small, large = textured(12, seed=3), textured(12, 96, 128, seed=4)
    changing = write_two_sizes(data.parent / "test.mp4", (small, large), "libx264")
    store = build(options_of(data, tmp_path / "features", normalise="0.4,0.2"))
    assert failed_clips(store) == []
    changing.unlink()
    rows = [row(f"{v}.mp4", n, n + 6, "test", "ab"[n // 6]) for v in "sl" for n in (0, 6)]
    for name, pictures in zip("sl", (small, large), strict=True):
        write_video(data.parent / f"{name}.mp4", pictures)
    others = [line for line in ROWS if line["split"] != "test"]
    (data.parent / "val.avi").rename(data.parent / "val.mp4")
    alone = write_table(data.parent / "alone.csv", [*others, *rows])
    apart = build(options_of(alone, tmp_path / "apart", normalise="0.4,0.2"))
    by_id = {str(name): apart[number] for number, name in enumerate(apart.clip_ids)}
    expected = [by_id[name] for name in ("s#0-6", "s#6-12", "l#0-6", "l#6-12")]
    ids = store.clip_ids.tolist()
    for clip, other in zip((f"test#{n}-{n + 6}" for n in range(0, 24, 6)), expected, strict=True):
        np.testing.assert_allclose(store[ids.index(clip)], other, rtol=1e-4, atol=1e-5)


def test_nothing_can_be_read(tmp_path, data) -> None:
    for part in PARTS:
        (data.parent / f"{part}.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="None of the 12 clips can be read"):
        build(options_of(data, tmp_path / "features", **FIXED | {"max_failures": "100%"}))


def test_too_many_failures_stop_and_more_allowed_go_on(
    tmp_path, data, computed, monkeypatch
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * 6)
    damage(data.parent / "train.mp4", 0.0, 0.9)  # the second of three
    root = tmp_path / "features"
    with pytest.raises(InputError, match=r"12 clips failed,.*--max-failures allows 0") as info:
        build(options_of(data, root, **FIXED | {"max_failures": "0"}))
    assert str(data.parent / "train.mp4") in str(info.value)
    assert not list(root.glob("*.zarr"))
    before = len(computed)
    lines: list[str] = []
    store = build(options_of(data, root, **FIXED | {"max_failures": "50%"}), lines.append)
    assert f"resuming after {before - 1} of 18 finished units" in lines
    undisturbed = build(options_of(data, tmp_path / "u", **FIXED | {"max_failures": "50%"}))
    assert checksums(store.path) == checksums(undisturbed.path)
    assert len(failed_clips(store)) >= 3


@pytest.mark.parametrize("given", ["-1", "x", "1.5", "%", "3 %"])
def test_what_is_no_budget_is_refused(tmp_path, data, given: str) -> None:
    with pytest.raises(InputError, match="--max-failures is"):
        options_of(data, tmp_path, max_failures=given)


def test_budgets(tmp_path, data) -> None:
    def most(given: str) -> int:
        options: BuildOptions = options_of(data, tmp_path, max_failures=given)
        return options.max_failures.of(250)

    assert [most(given) for given in ("0", "3", "1%", "0.5%", "100%")] == [0, 3, 2, 1, 250]


def test_statistics_leave_lost_frames_out(tmp_path, data) -> None:
    damage(data.parent / "train.mp4", 0.4, 0.6)
    with pytest.raises(InputError, match=r"train\.mp4: frame \d+.*decode"):
        build(options_of(data, tmp_path / "features"))
    store = build(options_of(data, tmp_path / "features", max_failures="4"))
    frames = store.attributes["statistics"]["frames"]
    assert 6 <= frames < FRAMES
    assert failed_clips(store)


def test_windows_that_hold_a_lost_frame_fail(tmp_path, data) -> None:
    damage(data.parent / "val.mp4", 0.4, 0.6)
    more = {"backbone": "r3d_18", "window": 4, "hop": 1, "batch_size": 2}
    store = build(options_of(data, tmp_path / "features", **FIXED | more))
    images = build(options_of(data, tmp_path / "features", **FIXED))
    assert failed_clips(store) == failed_clips(images)


class Flaky:
    """A disk on which one video cannot be read for a while."""

    def __init__(self, monkeypatch) -> None:
        self.broken = True
        self._plain = decode
        monkeypatch.setattr(decoders, "decode", self)

    def __call__(self, path: Path, index: Any, frames: Any, mode: Any) -> Iterator[Any]:
        if self.broken and path.name == "val.mp4":
            raise DecodeError(path, int(frames[0]), "the disk sleeps")
        yield from self._plain(path, index, frames, mode)


@pytest.mark.parametrize("chunk_rows", [4, 1000])
@pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
def test_retry(tmp_path, data, chunk_rows: int, store_format: str, monkeypatch, computed) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * chunk_rows)
    flaky = Flaky(monkeypatch)
    root, more = tmp_path / "features", FIXED | {"format": store_format}
    store = build(options_of(data, root, **more))
    assert failed_clips(store) == [f"val#{n}-{n + 6}" for n in range(0, 24, 6)]
    still = build(options_of(data, root, retry_failed=True, **more))
    assert failed_clips(still) == failed_clips(store)
    flaky.broken = False
    computed.clear()
    mended = build(options_of(data, root, retry_failed=True, **more))
    assert failed_clips(mended) == []
    assert sum(computed) == {4: 24, 1000: 72}[chunk_rows]
    undisturbed = build(options_of(data, tmp_path / "undisturbed", **more))
    assert mended.path.name == undisturbed.path.name
    for one, other in zip(mended, undisturbed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert mended.attributes == undisturbed.attributes
    lines: list[str] = []
    build(options_of(data, root, retry_failed=True, **more), lines.append)
    assert lines[-1].endswith("failed: nothing to retry")


def test_repair_keeps_what_failed(tmp_path, data, monkeypatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * 4)
    damage(data.parent / "val.mp4", 0.4, 0.6)
    store = build(options_of(data, tmp_path / "features", **FIXED))
    before = checksums(store.path)
    (store.path / "features/c/0/0").unlink()
    mended = build(options_of(data, tmp_path / "features", repair=True, **FIXED))
    assert checksums(mended.path) == before


def test_every_output_says_so(tmp_path, data, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    damage(data.parent / "train.mp4", 0.4, 0.6)
    flags = ["--source", "table", "--data", str(data), "--backbone", "squeezenet1_1"]
    flags += ["--weights", "random", "--size", "32", "--pixels", "luma", "--max-failures", "4"]
    result = CliRunner().invoke(main, ["build", *flags])
    assert result.exit_code == 0, result.output
    assert re.search(r"\d of 12 clips FAILED", result.stdout)
    assert "frame" in result.stdout
    store = result.stdout.splitlines()[-1].split(" ")[0]
    for command in (["build", *flags], ["info", store]):
        again = CliRunner().invoke(main, command)
        assert re.search(r"\d of 12 clips FAILED", again.stdout), again.output
    recipe = load_recipe("bilstm", ["train.epochs=1", "head.hidden=4"])
    from featstore import open as open_store

    run = train(open_store(store), recipe, out=tmp_path / "run", device="cpu", log=print)
    assert re.search(r"\d of train", (run / "report.md").read_text("utf-8"))


def test_the_dataset_of_the_other_tests_is_whole(tmp_path) -> None:
    store = build(options_of(write_dataset(tmp_path / "d"), tmp_path / "f", max_failures="100%"))
    assert failed_clips(store) == []
    assert store.attributes["failed"] == {}


class TestFeaturesThatAreNotFinite:
    def test_are_refused_by_clip_and_flags(self, tmp_path: Path, data: Path) -> None:
        tiny = options_of(data, tmp_path / "s", normalise="0.4,1e-42")
        with pytest.raises(InputError) as refused:
            build(tiny)
        for named in ("test#0-6", "test.mp4", "squeezenet1_1", "random", "--normalise 0.4,1e-42"):
            assert named in str(refused.value)
        assert not list(tiny.store.glob("*.zarr"))

    def test_fail_their_clips_where_some_may_fail(self, tmp_path: Path, data: Path) -> None:
        tiny = options_of(data, tmp_path / "s", normalise="0.4,1e-42", max_failures="100%")
        store = build(tiny)
        assert (store.status != 0).all()
        assert all(np.isnan(store[clip]).all() for clip in range(len(store)))

    def test_are_not_copied(self, tmp_path: Path, data: Path, monkeypatch) -> None:
        options = options_of(data, tmp_path / "s", **FIXED)
        with monkeypatch.context() as patched:  # as a store of before such were refused
            patched.setattr(UnitFeatures, "take", take_anything)
            assert not np.isfinite(build(options)[0]).any()
        table = Path(data).read_text("utf-8").replace(",a,", ",c,")
        data.write_text(table, "utf-8")
        lines: list[str] = []
        store = build(options, lines.append)
        assert np.isfinite(store[0]).all()
        assert any("NaN" in line for line in lines)


def take_anything(self: UnitFeatures, numbers: list[int], features: Any) -> None:
    self.features[numbers] = np.inf
    self._computed += len(numbers)
