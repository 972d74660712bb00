"""``featstore train``: which store it takes, and what it leaves."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import featstore
from pipeline.cli import main
from pipeline.train import results
from tests.builds import build, options_of, write_dataset

QUICK = ("--recipe", "tcn", "--set", "train.epochs=1", "--set", "head.hidden=4")
FLAGS = ("--source", "table", "--data", "data/clips.csv", "--backbone", "squeezenet1_1")
FLAGS = (*FLAGS, "--weights", "random", "--pixels", "luma")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two stores, of 32 and of 48 pixels, in features/."""
    folder = tmp_path_factory.mktemp("train")
    data = write_dataset(folder / "data")
    for size in (32, 48):
        build(options_of(data, folder / "features", size=size))
    return folder


@pytest.fixture
def stores(folder: Path, monkeypatch) -> dict[int, featstore.Store]:
    monkeypatch.chdir(folder)
    found = map(featstore.open, Path("features").glob("*.zarr"))
    return {store.attributes["features"]["size"]: store for store in found}


def train(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *QUICK, *arguments])


def trained_on(result: Result) -> str:
    assert result.exit_code == 0, result.output
    run = Path(result.stdout.splitlines()[-1].removeprefix("report ")).parent
    return json.loads((run / "metrics.json").read_text("utf-8"))["store_key"]


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr


def test_without_a_name_it_takes_the_store_built_last(stores) -> None:
    assert trained_on(train()) == stores[48].key


@pytest.mark.parametrize("size", [32, 48])
def test_by_key_name_path_and_flags(stores, size: int) -> None:
    store = stores[size]
    for name in (store.key, store.key[:8], store.path.name, str(store.path)):
        assert trained_on(train("--store", name)) == store.key
    assert trained_on(train(*FLAGS, "--size", str(size))) == store.key
    assert trained_on(train(*FLAGS, "--size", str(size), "--stores", "features")) == store.key


def test_a_name_and_flags_exclude_each_other(stores) -> None:
    refused(train("--store", stores[32].key, *FLAGS, "--size", "48"), "one of the two")


def test_flags_of_no_store(stores) -> None:
    refused(train(*FLAGS, "--size", "64"), "featstore build")


@pytest.mark.parametrize("name", ["nothing", "ffffffffffff"])
def test_unknown_name(stores, name: str) -> None:
    refused(train("--store", name), name, stores[32].path.name)


def test_mistakes_in_the_recipe(stores) -> None:
    refused(train("--set", "train.lrr=1"), "train.lrr", "train.lr")
    refused(train("--recipe", "bilstn"), "bilstn", "bilstm")
    refused(train("--set", "head.num_classes=7"), "7", "2")


def test_a_taken_folder_is_left_alone(stores, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("")
    refused(train("--out", str(taken)), str(taken))
    assert [path.name for path in taken.iterdir()] == ["mine"]


def test_untrained_is_said(stores) -> None:
    assert "untrained" in train().stdout


def test_a_second_run_gets_a_folder_of_its_own(stores) -> None:
    runs = {train().stdout.splitlines()[-1] for _ in range(2)}
    assert len(runs) == 2


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["evaluate", *arguments])


def test_evaluate_repeats_the_scores_of_a_run(stores, tmp_path: Path) -> None:
    run = tmp_path / "one"
    assert train("--store", stores[32].key, "--out", str(run)).exit_code == 0
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    for arguments in ([], ["--store", stores[32].key[:8]]):
        result = evaluate(str(run), "--part", "val", *arguments)
        assert result.exit_code == 0, result.output
        top1 = next(line for line in result.stdout.splitlines() if line.startswith("top-1"))
        assert top1.split()[1:] == [f"{100 * metrics['val']['top1']:.1f}", "%"]
    refused(evaluate(str(run), "--store", stores[48].key), "size: 32 -> 48")
    refused(evaluate(str(tmp_path)), "not a run")


def test_a_training_that_was_cut_off_keeps_its_name(stores, monkeypatch) -> None:
    def full(run: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(results, "report", full)
        refused(train("--seed", "9"), "-seed9: No space")
    unfinished = list(Path("runs").glob(".*-seed9.unfinished"))
    assert len(unfinished) == 1
    name = unfinished[0].name.removeprefix(".").removesuffix(".unfinished")
    other = train("--seed", "9", "--set", "train.lr=1e-2")
    assert other.stdout.splitlines()[-1] == f"report runs/{name}-2/report.html and report.md"
    again = train("--seed", "9")
    assert "resuming an interrupted training after epoch 1" in again.stdout
    assert again.stdout.splitlines()[-1] == f"report runs/{name}/report.html and report.md"
    assert not unfinished[0].exists()


def test_features_that_changed_are_refused(stores, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(stores[32].path, tmp_path / "features" / stores[32].path.name)
    monkeypatch.chdir(tmp_path)
    (path,) = Path("features").glob("*.zarr")
    run = ("--out", "runs/before")
    assert trained_on(train(*run)) == stores[32].key
    chunk = path / "features/c/0/0"
    content = bytearray(chunk.read_bytes())
    content[0] ^= 1  # hardly changes a number
    chunk.write_bytes(content)
    refused(train(), "chunk 0 of the features was changed")
    evaluated = CliRunner().invoke(main, ["evaluate", "runs/before"])
    refused(evaluated, "chunk 0 of the features was changed")
    assert trained_on(train("--no-check")) == stores[32].key
    evaluated = CliRunner().invoke(main, ["evaluate", "runs/before", "--no-check"])
    assert evaluated.exit_code == 0, evaluated.output
