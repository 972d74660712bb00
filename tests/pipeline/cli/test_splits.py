"""``featstore train --seeds --splits``: which stores it takes, and what it leaves."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import featstore
from featstore.errors import InputError
from featstore.manage.catalogue import sibling
from pipeline.build.plan.request import options_of_split
from pipeline.cli import main
from pipeline.cli.splits import split_numbers
from pipeline.runs.files import read_metrics
from pipeline.train.seeds import read_summary
from tests.builds import build, options_of, row, write_videos
from tests.stores import contents, write_store
from tests.videos import write_table

QUICK = ("--recipe", "baseline", "--set", "train.epochs=1", "--set", "head.hidden=4")
FLAGS = ("--source", "table", "--data", "data/clips.csv", "--backbone", "squeezenet1_1")
FLAGS = (*FLAGS, "--weights", "random", "--pixels", "luma", "--size", "32")
VIDEOS = ("train.mp4", "val.mkv", "test.avi")


def split_rows() -> list[dict[str, Any]]:
    """One subject a video, with clips of both classes."""
    rows = [
        row(video, start, start + 8, video, label)
        for video in VIDEOS
        for start, label in ((0, "a"), (8, "b"), (12, "a"))
    ]
    return [{k: v for k, v in own.items() if k != "split"} for own in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of splits 0 and 1, of three, in features/."""
    folder = tmp_path_factory.mktemp("splits")
    write_videos(folder / "data")
    data = write_table(folder / "data" / "clips.csv", split_rows())
    parts = ("train", "val", "test")
    splits = [
        {"subject": f"of {video}"} | {f"split_{n}": parts[(i + n) % 3] for n in range(3)}
        for i, video in enumerate(VIDEOS)
    ]
    table = write_table(folder / "data" / "splits.csv", splits)
    for split in (0, 1):
        build(options_of(data, folder / "features", source={"split_file": table, "split": split}))
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def train(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *QUICK, *arguments])


def titles(out: str) -> dict[str, str]:
    return {own["folder"]: own["title"] for own in read_summary(Path(out))["runs"]}


def test_splits_by_the_flags_of_build() -> None:
    result = train(
        *FLAGS, "--splits", "data/splits.csv", "--splits", "0,1", "--seeds", "2", "--out", "o/flags"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "report o/flags/report.html and report.md"
    assert titles("o/flags") == {
        f"split{n}-seed{seed}": f"data clips split {n}" for n in (0, 1) for seed in (0, 1)
    }
    keys = {own["store_key"] for own in read_summary(Path("o/flags"))["runs"]}
    assert keys == {featstore.open(path).key for path in Path("features").glob("*.zarr")}


def test_splits_by_the_store_of_another_split() -> None:
    one = next(str(p) for p in Path("features").glob("*split-1*.zarr"))
    result = train("--store", one, "--splits", "0,1", "--seed", "3", "--out", "o/store")
    assert result.exit_code == 0, result.output
    assert titles("o/store") == {f"split{n}-seed3": f"data clips split {n}" for n in (0, 1)}
    again = train("--store", one, "--splits", "0,1", "--seed", "3", "--out", "o/store")
    assert "skipped, already trained: 2 runs" in again.stdout
    report = CliRunner().invoke(main, ["report", "o/store"])
    assert report.stdout == Path("o/store/report.md").read_text("utf-8") + "\n"


def test_several_stores_that_fit_are_refused_by_name(tmp_path: Path) -> None:
    def store(name: str, split: int, key: str) -> Path:
        made = contents(title=f"data clips split {split}", key=key * 32)
        return write_store(tmp_path / f"{name}.zarr", made)

    one = store("one", 1, "aa")
    before = store("before", 0, "bb")
    assert sibling(one, 0) == before
    store("before-copied", 0, "bb")
    assert sibling(one, 0) in (before, tmp_path / "before-copied.zarr")
    store("after", 0, "cc")  # the annotations were changed, which no title says
    with pytest.raises(InputError, match=r"after\.zarr, .*before\.zarr; .*flags"):
        sibling(one, 0)
    result = train("--store", str(one), "--splits", "1,0", "--out", "o/several")
    assert result.exit_code == 2
    assert "after.zarr" in result.stderr
    assert not Path("o/several").exists()


def test_a_split_without_a_store_is_said_before_anything_is_trained() -> None:
    result = train("--store", "data-clips-split-0", "--splits", "0,2", "--out", "o/none")
    assert result.exit_code == 2
    assert "'data clips split 2'" in result.stderr
    assert "`featstore build` for split 2" in result.stderr
    assert not Path("o/none").exists()
    flags = (*FLAGS, "--split-file", "data/splits.csv", "--splits", "2")
    assert "featstore build" in train(*flags).stderr


def test_seeds_of_one_store_and_their_folder() -> None:
    result = train("--store", "data-clips-split-0", "--seeds", "2")
    assert result.exit_code == 0, result.output
    report = Path(
        result.stdout.splitlines()[-1].removeprefix("report ").removesuffix(" and report.md")
    )
    key = featstore.open(next(Path("features").glob("*split-0*.zarr"))).key
    assert report == Path(f"runs/baseline-{key[:8]}-seeds0to1/report.html")
    assert {read_metrics(report.parent / f"seed{n}")["seed"] for n in (0, 1)} == {0, 1}


def test_seeds_behind_the_largest_are_refused_before_anything_is_trained() -> None:
    one = ("--store", "data-clips-split-0", "--seed", str(2**63 - 2), "--out", "o/seeds")
    result = train(*one, "--seeds", "3")
    assert result.exit_code == 2
    assert f"ends with seed {2**63}, and the largest is {2**63 - 1}" in result.stderr
    assert not Path("o/seeds").exists()
    assert train(*one, "--seeds", "2").exit_code == 0


def test_a_split_named_twice_over() -> None:
    flags = (*FLAGS, "--split-file", "data/splits.csv", "--splits", "0,1", "--split", "1")
    result = train(*flags)
    assert result.exit_code == 2
    assert "--split 1 and --splits" in result.stderr


def test_with_folds_the_numbers_are_folds() -> None:
    asked = {"source": "folders", "folds": 5, "fold": None, "split": None}
    assert options_of_split(asked, 3) == {**asked, "fold": 3}
    with pytest.raises(InputError, match="--fold 1 and --splits"):
        options_of_split({**asked, "fold": 1}, 3)


@pytest.mark.parametrize(
    ("values", "split_file"),
    [(["0", "1"], None), (["a.csv", "b.csv"], None), (["a.csv"], Path("b.csv"))],
)
def test_numbers_or_files_twice(values: list[str], split_file: Path | None) -> None:
    with pytest.raises(InputError, match="once"):
        split_numbers(values, split_file)
    assert split_numbers([], None) == ([], None)
    assert split_numbers(["2,0,2"], Path("a.csv")) == ([2, 0], Path("a.csv"))


def test_former_spelling_of_the_split_file(capsys) -> None:
    assert split_numbers(["a.csv", "1"], None) == ([1], Path("a.csv"))
    assert "--split-file" in capsys.readouterr().err
