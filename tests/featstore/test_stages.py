"""Both stages from Python: what the commands do, as calls."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import featstore
from featstore import InputError
from tests.builds import write_dataset

QUICK = {
    "backbone": "squeezenet1_1",
    "weights": "random",
    "size": 32,
    "pixels": "luma",
    "fps": 8,
    "workers": 1,
    "device": "cpu",
}
SHORT = {"train.epochs": 1, "data.standardise": "none"}


def silent(line: str) -> None:
    """Log nothing."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> featstore.Store:
    folder = tmp_path_factory.mktemp("stages")
    table = write_dataset(folder)
    return featstore.build("table", data=str(table), store=folder / "features", log=silent, **QUICK)


@pytest.fixture(scope="module")
def runs(store, tmp_path_factory) -> list[featstore.Run]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        featstore.train(store, "linear", seed=seed, out=folder / str(seed), set=SHORT, log=silent)
        for seed in range(2)
    ]


def test_build_returns_the_store_and_finds_it_again(store) -> None:
    assert sorted(store.classes) == ["a", "b"]
    assert len(store) == 5
    said: list[str] = []
    data = Path(store.path).parent.parent / "clips.csv"
    again = featstore.build(
        "table", data=data, store=Path(store.path).parent, log=said.append, **QUICK
    )
    assert again.key == store.key
    assert any("already built" in line for line in said)


def test_train_returns_the_run(store, runs) -> None:
    run = runs[0]
    assert run.metrics["recipe"] == "linear"
    assert run.metrics["store_key"] == store.key
    assert 0 <= run.metrics["test"]["top1"] <= 1
    (test,) = run.predictions("test")
    assert test.label == "a"
    assert test.subject == "of test"
    assert 0 < test.probability <= 1
    assert len(run.predictions()) == 2
    assert run.report.startswith("#")


def test_stores_are_named_by_path_and_joined(store, tmp_path) -> None:
    run = featstore.train(str(store.path), "linear", out=tmp_path / "run", set=SHORT, log=silent)
    assert run.path == tmp_path / "run"
    assert featstore.Run(run.path).metrics == run.metrics


def test_compare(runs) -> None:
    comparison = featstore.compare(runs)
    (difference,) = comparison.differences
    assert "top1" in difference.scores
    assert str(runs[1].path) in str(comparison)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"backbon": "resnet18"}, "backbone"),
        ({"backbone": "resnet19"}, "resnet18"),
        ({"size": 0}, "--size is 0"),
    ],
)
def test_mistakes_name_the_option(tmp_path, options, named) -> None:
    with pytest.raises(InputError, match=named):
        featstore.build("table", data="clips.csv", store=tmp_path, log=silent, **options)


def test_one_run_is_no_comparison(runs) -> None:
    with pytest.raises(InputError, match=str(runs[0].path)):
        featstore.compare(runs[:1])


def test_in_a_folder_with_its_own_models_and_pipeline(tmp_path) -> None:
    """As a notebook does: the working directory is first among the paths of imports."""
    table = write_dataset(tmp_path / "data")
    for package in ("models", "pipeline"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("WHOSE = 'mine'\n")
        (tmp_path / package / "mine.py").write_text("WHOSE = 'mine'\n")
    code = f"""
        import sys
        sys.path.insert(0, "")
        import models  # before featstore is used
        import featstore
        store = featstore.build("table", data={str(table)!r}, **{QUICK!r})
        import pipeline.mine  # after it
        run = featstore.train(store, "linear", set={SHORT!r})
        assert models.WHOSE == pipeline.mine.WHOSE == pipeline.WHOSE == "mine"
        assert sys.path[0] == ""
        print("TOP1", run.metrics["val"]["top1"], len(run.predictions("val")))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "TOP1" in done.stdout
