"""``--json``: one document on standard output, whose numbers are those of the files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from featstore import Store
from pipeline.cli import main
from pipeline.metrics.classification import SCORES
from pipeline.train.recipes.load import load_recipe
from pipeline.train.recipes.portfolio import load_portfolio
from pipeline.train.train import train
from tests.builds import build, options_of, silent, write_dataset

FLAGS = ("--source", "table", "--backbone", "squeezenet1_1", "--weights", "random")
FLAGS = (*FLAGS, "--pixels", "luma", "--device", "cpu", "--batch-size", "8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json")


@pytest.fixture(scope="module")
def stores(folder: Path) -> list[Store]:
    data = write_dataset(folder / "data")
    return [build(options_of(data, folder / "features", size=size)) for size in (32, 40)]


@pytest.fixture(scope="module")
def trained(folder: Path, stores: list[Store]) -> list[Path]:
    """Two runs that differ in one field and the seed."""
    paths = []
    for seed, rate in enumerate((1e-3, 1e-2)):
        recipe = load_recipe(
            "linear", ["train.epochs=1", f"train.lr={rate}", "train.imbalance=none"]
        )
        out = folder / "runs" / f"run{seed}"
        paths.append(train(stores[0], recipe, out=out, seed=seed, device="cpu", log=silent))
    return paths


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def document(*words: str | Path, code: int = 0) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == code, result.output
    assert len(result.stdout.splitlines()) == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_ls(folder: Path, stores: list[Store]) -> None:
    found = document("ls", "--stores", folder / "features")
    assert found["damaged"] == []
    by_key = {store["key"]: store for store in found["stores"]}
    assert set(by_key) == {store.key for store in stores}
    for store, size in zip(stores, (32, 40), strict=True):
        facts = by_key[store.key]
        assert (facts["size"], facts["pixels"], facts["normalise"]) == (size, "luma", "split")
        assert (facts["backbone"], facts["failed"]) == (store.attributes["features"]["backbone"], 0)
        assert (facts["steps"], facts["dim"]) == (store.attributes["steps"], store.dim)
        assert sum(facts["clips"].values()) == len(store)


def test_ls_tells_stores_apart(folder: Path, stores: list[Store]) -> None:
    heading, *rows = (
        line.split() for line in run("ls", "--stores", folder / "features").stdout.splitlines()
    )
    at = heading.index("size") - 2  # "steps x dim" is three words, and so are its cells
    assert sorted(row[at + 2] for row in rows) == ["32", "40"]


def test_info(stores: list[Store]) -> None:
    store = stores[0]
    found = document("info", store.path)
    assert (found["key"], found["dim"], found["failed"]) == (store.key, store.dim, {})
    assert found["statistics"] == store.attributes["statistics"]
    assert [row["class"] for row in found["classes"]] == list(store.classes)
    for part in ("train", "val", "test"):
        assert sum(row[part] for row in found["classes"]) == len(store.split(part))
        assert found["clips"][part] == len(store.split(part))


def test_verify(tmp_path: Path, stores: list[Store]) -> None:
    copy = shutil.copytree(stores[0].path, tmp_path / "copy.zarr")
    assert document("verify", copy) == {"path": str(copy), "whole": True, "findings": []}
    (copy / "features/c/0/0").write_bytes(b"")
    found = document("verify", copy, code=1)
    assert not found["whole"]
    assert found["findings"][0]["clips"]


def test_why_of_two_stores(stores: list[Store]) -> None:
    found = document("why", stores[0].path, stores[1].path)
    assert "size: 32 -> 40" in found["fields"]
    assert (found["same_clips"], found["clips"]) == (0, len(stores[1]))


def test_why_of_a_build(folder: Path, stores: list[Store]) -> None:
    flags = (*FLAGS, "--data", folder / "data/clips.csv", "--stores", folder / "features")
    found = document("why", *flags, "--size", "48", "--normalise", "0.4,0.2")
    assert found["unlike"] in [str(store.path) for store in stores]
    assert found["existing"] is None
    assert (found["copied"], found["computed"]["clips"]) == ([], len(stores[0]))


def test_evaluate(trained: list[Path]) -> None:
    found = document("evaluate", trained[0], "--part", "val")
    metrics = json.loads((trained[0] / "metrics.json").read_text("utf-8"))
    for name in SCORES:
        assert found[name] == pytest.approx(metrics["val"][name])
    assert found["stores"][0]["key"] == metrics["store_key"]
    assert found["temperature"] == metrics["calibration"]["temperature"]


def test_report(trained: list[Path]) -> None:
    found = document("report", trained[0])
    assert found["metrics"] == json.loads((trained[0] / "metrics.json").read_text("utf-8"))
    assert Path(found["report"]).is_file()


def test_compare(trained: list[Path]) -> None:
    found = document("compare", *trained, "--part", "val")
    (other,) = found["others"]
    assert other["name"] == str(trained[1])
    assert set(other["scores"]) >= {"top1", "mean_class_accuracy"}
    for score in other["scores"].values():
        assert score["difference"] == pytest.approx(score["other"] - score["first"])
        assert score["holds"] in ("yes", "here", "no")


class TestRuns:
    def test_settings_that_differ(self, folder: Path, trained: list[Path]) -> None:
        found = document("runs", folder / "runs", "--part", "val")
        assert found["differing"] == ["train.lr", "seed"]
        assert [row["path"] for row in found["runs"]] == [str(path) for path in trained]
        assert [row["settings"] for row in found["runs"]] == [
            {"train.lr": 1e-3, "seed": 0},
            {"train.lr": 1e-2, "seed": 1},
        ]
        for row, path in zip(found["runs"], trained, strict=True):
            metrics = json.loads((path / "metrics.json").read_text("utf-8"))
            assert row["scores"]["val"] == {name: metrics["val"][name] for name in SCORES}

    def test_table_csv_and_latex_have_the_same_rows(
        self, folder: Path, trained: list[Path]
    ) -> None:
        table = run("runs", folder / "runs").stdout.splitlines()
        assert table[0].split()[:3] == ["run", "train.lr", "seed"]
        assert [line.split()[:3] for line in table[1:]] == [
            ["run0", "0.001", "0"],
            ["run1", "0.01", "1"],
        ]
        comma = run("runs", folder / "runs", "--format", "csv").stdout.splitlines()
        assert comma[0] == ",".join(["run", "train.lr", "seed", *SCORES])
        assert comma[1].startswith("run0,0.001,0,")
        latex = run("runs", folder / "runs", "--format", "latex").stdout.splitlines()
        rows = [line for line in latex if line.endswith(r"\\")]
        assert rows[1].split(" & ")[:3] == ["run0", "0.001", "0"]
        assert latex[0].count("r") - latex[0].count("tabular") == len(SCORES) + 2

    def test_damaged_run_is_named_and_the_others_are_listed(
        self, tmp_path: Path, trained: list[Path]
    ) -> None:
        for path in trained:
            shutil.copytree(path, tmp_path / path.name)
        (tmp_path / "run0/metrics.json").write_text("{")
        result = run("runs", tmp_path)
        assert result.exit_code == 0
        assert str(tmp_path / "run0") in result.stderr
        assert [line.split()[0] for line in result.stdout.splitlines()] == ["run", "run1"]

    def test_folder_that_is_missing(self, tmp_path: Path) -> None:
        assert run("runs", tmp_path / "none").exit_code == 2


class TestRecipes:
    def test_every_recipe(self) -> None:
        from pipeline.train.recipes.load import recipe_names

        found = document("recipes")["recipes"]
        assert [row["recipe"] for row in found] == ["auto", *recipe_names()]
        assert all(row["about"] for row in found)

    def test_the_default_is_listed_with_its_candidates(self) -> None:
        found = document("recipes", "auto")["candidates"]
        assert [row["candidate"] for row in found] == [
            recipe.name for recipe in load_portfolio().recipes
        ]
        assert f" {len(found)} candidates" in document("recipes")["recipes"][0]["about"]
        assert found[-1] == {"candidate": "bilstm-clip", "head": "recurrent", "standardise": "clip"}

    def test_fields_are_those_of_set(self) -> None:
        fields = {row["name"]: row for row in document("recipes", "tcn")["fields"]}
        recipe = load_recipe("tcn")
        assert fields["head.kernel"]["value"] == recipe.head.model_dump()["kernel"]
        assert (fields["train.schedule"]["value"], fields["train.schedule"]["default"]) == (
            "plateau",
            "none",
        )
        for name, row in fields.items():
            if name != "head.kind":
                load_recipe("tcn", [f"{name}={json.dumps(row['value'])}"])
            assert row["meaning"], name

    def test_unknown_recipe(self) -> None:
        result = run("recipes", "bilstn")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "bilstm" in result.stderr
