"""``featstore build --splits``: each store as it is when its split is built alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import featstore
from featstore.errors import InputError
from featstore.format import layout
from pipeline.build import together
from pipeline.cli import main
from tests.builds import row, silent, write_videos
from tests.videos import write_table

VIDEOS = ("train.mp4", "val.mkv", "test.avi")
PARTS = ("train", "val", "test")
QUICK = ("--size", "32", "--pixels", "luma", "--device", "cpu", "--workers", "1")
QUICK = (*QUICK, "--backbone", "squeezenet1_1", "--weights", "random")
SPLITS = ("--split-file", "splits.csv", "--splits", "0,1,2")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three videos of three subjects with three splits, and units of 8 rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 8 * 4 * 512)
    write_videos(Path())
    rows = [
        row(video, start, start + 10, video, label)
        for video in VIDEOS
        for start, label in ((0, "a"), (6, "b"), (12, "a"))
    ]
    plain = [{name: value for name, value in one.items() if name != "split"} for one in rows]
    write_table(
        Path("splits.csv"),
        [
            {"subject": f"of {video}"} | {f"split_{n}": PARTS[(i + n) % 3] for n in range(3)}
            for i, video in enumerate(VIDEOS)
        ],
    )
    return write_table(Path("clips.csv"), plain)


def build(folder: str, *more: str) -> Result:
    flags = ["build", "--source", "table", "--data", "clips.csv", "--stores", folder, *QUICK]
    return CliRunner().invoke(main, [*flags, *more])


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def contents(folder: str) -> dict[str, bytes]:
    """Return the bytes of every file of every store."""
    stores = sorted(Path(folder).glob("*.zarr"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for store in stores
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def alone(folder: str, *more: str, flag: str = "--split") -> dict[str, bytes]:
    """Build every split alone; return the bytes of their stores."""
    for number in range(3):
        done(build(folder, flag, str(number), *more))
    return contents(folder)


def test_each_split_has_the_bytes_that_it_has_alone(decoded: list[int], counted: list[int]) -> None:
    result = done(build("together", *SPLITS))
    once = sum(decoded)
    assert sum(counted) == 3 * 22  # each video once
    assert "one decode for 3 stores" in result.stdout
    assert "already built" not in result.stdout
    decoded.clear()
    expected = alone("alone", "--split-file", "splits.csv")
    assert contents("together") == expected
    assert once == sum(decoded) / 3
    lines = result.stdout.splitlines()[-3:]
    stores = [featstore.open(line.split(" ")[0], check=True) for line in lines]
    assert [store.title[-7:] for store in stores] == ["split 0", "split 1", "split 2"]
    assert len({tuple(store.attributes["statistics"]["mean"]) for store in stores}) == 3
    again = done(build("together", *SPLITS))
    assert again.stdout.count("already built: nothing to do") == 3
    assert again.stdout.splitlines()[-1] == lines[-1]


def test_with_folds_the_numbers_are_folds() -> None:
    result = done(build("together", "--folds", "3", "--splits", "0,1,2"))
    assert "one decode for 3 stores" in result.stdout
    assert contents("together") == alone("alone", "--folds", "3", flag="--fold")


def test_splits_of_two_backbones_share_the_decode() -> None:
    pair = ("--backbone", "mobilenet_v3_small", "--weights", "random")
    result = done(build("together", *SPLITS, *QUICK[-4:], *pair))
    assert "one decode for 6 stores" in result.stdout
    names = [Path(line.split(" ")[0]).name for line in result.stdout.splitlines()[-6:]]
    assert ["squeezenet1_1" in name for name in names] == [True] * 3 + [False] * 3
    assert ["split-1" in name for name in names] == [False, True, False] * 2
    alone("alone", "--split-file", "splits.csv")
    alone("alone", "--split-file", "splits.csv", *pair)
    assert contents("together") == contents("alone")


def test_interrupted_splits_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    write_unit, written = together.write_unit, []

    def stop(*arguments: Any) -> Any:
        written.append(arguments[1])
        if len(written) == 8:
            raise KeyboardInterrupt
        return write_unit(*arguments)

    monkeypatch.setattr(together, "write_unit", stop)
    assert build("together", *SPLITS).exit_code != 0
    assert contents("together") == {}
    monkeypatch.setattr(together, "write_unit", write_unit)
    result = done(build("together", *SPLITS))
    assert "resuming after 2 of 12 finished units" in result.stdout
    assert contents("together") == alone("alone", "--split-file", "splits.csv")


def test_the_splits_that_are_missing_are_built() -> None:
    done(build("together", "--split-file", "splits.csv", "--split", "1"))
    result = done(build("together", *SPLITS))
    assert "one decode for 2 stores" in result.stdout
    assert "already built: nothing to do" in result.stdout
    assert contents("together") == alone("alone", "--split-file", "splits.csv")


def test_splits_with_a_fixed_mean_are_computed_once(decoded: list[int]) -> None:
    result = done(build("together", *SPLITS, "--normalise", "0.4,0.2"))
    assert "one decode" not in result.stdout
    assert result.stdout.count("copied: 9 clips") == 2
    once = sum(decoded)
    decoded.clear()
    done(build("one", "--split-file", "splits.csv", "--split", "0", "--normalise", "0.4,0.2"))
    assert once == sum(decoded)
    expected = alone("alone", "--split-file", "splits.csv", "--normalise", "0.4,0.2")
    assert contents("together") == expected


def test_a_dry_run_shows_every_size_and_the_sum() -> None:
    result = done(build("planned", *SPLITS, "--dry-run"))
    assert [line.split() for line in result.stdout.splitlines()].count(["steps", "90"]) == 3
    assert result.stdout.splitlines()[-1] == "3 stores, 3.70 MB in all"
    facts = json.loads(done(build("planned", *SPLITS, "--dry-run", "--json")).stdout)
    assert len({one["key"] for one in facts["stores"]}) == 3
    assert {one["bytes"] for one in facts["stores"]} == {90 * (4 * 512 + 16) + 2**20}
    assert contents("planned") == {}


def test_json_has_every_store() -> None:
    facts = json.loads(done(build("together", *SPLITS, "--json")).stdout)
    for number, one in enumerate(facts["stores"]):
        assert one.keys() == {"path", "key", "subjects_known", "untrained"}
        store = featstore.open(one["path"])
        assert store.key == one["key"]
        assert store.title.endswith(f"split {number}")


def test_the_former_name_of_the_split_file() -> None:
    result = done(build("together", "--splits", "splits.csv", "--splits", "2,2"))
    assert "name files with --split-file" in result.stderr
    assert result.stdout.splitlines()[-1].count("split-2") == 1
    assert len(list(Path("together").glob("*.zarr"))) == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((*SPLITS, "--split", "1"), "--split 1 and --splits both choose a split; leave one out."),
        (("--folds", "3", "--fold", "0", "--splits", "0,1"), "--fold 0 and --splits"),
        (("--split-file", "splits.csv", "--splits", "0,3"), 'no column "split_3"'),
        (("--folds", "3", "--splits", "0,3"), "--fold 3 is not one of 3 folds"),
        ((*SPLITS, "--splits", "1"), "give the numbers of splits once"),
        (("--splits", "0,1"), "--split 0 needs --split-file"),
    ],
)
def test_mistakes(flags: tuple[str, ...], words: str) -> None:
    result = build("refused", *flags)
    assert result.exit_code == 2
    assert words in result.stderr
    assert contents("refused") == {}


@pytest.mark.parametrize(
    ("source", "advice"), [("folders", "pass --folds K"), ("lists", "leave out --splits")]
)
def test_sources_without_numbered_splits(source: str, advice: str) -> None:
    words = ["build", "--source", source, "--data", ".", "--splits", "0,1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert f"--source {source} has no numbered splits; {advice}." in result.stderr


def test_splits_in_python(data: Path) -> None:
    options: dict[str, Any] = {"backbone": "squeezenet1_1", "weights": "random", "size": 32}
    options |= {"pixels": "luma", "device": "cpu", "workers": 1, "store": "python", "log": silent}
    stores = featstore.build("table", data=data, folds=3, splits=[2, 0], **options)
    assert [store.title[-11:] for store in stores] == ["fold 2 of 3", "fold 0 of 3"]
    one = featstore.build("table", data=data, folds=3, fold=2, **options)
    assert one.key == stores[0].key
    with pytest.raises(InputError, match="at least one number"):
        featstore.build("table", data=data, folds=3, splits=[], **options)
