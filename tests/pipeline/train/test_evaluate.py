"""A trained run, scored on its own store and on others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.runs.files import read_metrics
from pipeline.train.evaluate import certainty, own_store, rescore
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.fakes import FakeStore, ordered_store

FEATURES = {"imported": "csv", "dtype": "float32", "size": 32}
STATISTICS = {"mean": [0.5], "std": [0.25], "origin": "measured"}


def store_of(seed: int = 0, **attributes: Any) -> FakeStore:
    given = {"features": FEATURES, "statistics": STATISTICS} | attributes
    return ordered_store(60, seed=seed, **given)


def run_of(out: Path, *overrides: str) -> Path:
    recipe = load_recipe("bilstm", ["head.hidden=8", "train.epochs=2", *overrides])
    return train(store_of(), recipe, out=out, log=lambda line: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("runs") / "one")


@pytest.mark.parametrize("part", ["val", "test"])
def test_on_its_own_store_it_repeats_the_scores_of_training(run: Path, part: str) -> None:
    store = store_of()
    metrics = read_metrics(run)[part]
    again = rescore(run, store, part).metrics.as_dict(store.classes)
    assert json.loads(json.dumps(again)) == {key: metrics[key] for key in again}


def test_on_another_store_of_the_same_features(run: Path) -> None:
    other = store_of(seed=7)
    other.key = "0d" * 32
    found = rescore(run, other, "train")
    assert found.clips.tolist() == other.split("train").tolist()
    assert found.labels.tolist() == other.labels[other.split("train")].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": FEATURES | {"size": 48}}, "size: 32 -> 48"),
        ({"statistics": STATISTICS | {"mean": [0.4]}}, "mean and std of the pixels.*--like"),
        ({"classes": ("a", "b", "c")}, "2 -> 3, in one only: c"),
        ({"classes": ("b", "a")}, "another order"),
        ({"dim": 5}, "length of a feature vector: 6 -> 5"),
    ],
)
def test_other_features_and_classes_are_refused(
    run: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        rescore(run, store_of(**change), "test")


@pytest.mark.parametrize("part", ["val", "test"])
def test_certainty_on_its_own_store_is_that_of_training(run: Path, part: str) -> None:
    store, metrics = store_of(), read_metrics(run)
    clips, people, error = certainty(run, store, part, rescore(run, store, part)).lines()
    for line, over in ((clips, "clips"), (people, "subjects")):
        texts = [
            f"{name} {100 * low:.1f} to {100 * high:.1f}"
            for name, key in (("top-1", "top1"), ("mean class accuracy", "mean_class_accuracy"))
            for low, high in [metrics["intervals"][part][key][over]]
        ]
        assert ", ".join(texts) in line
    assert clips.startswith("95 % over clips      top-1")
    # Clips of val and test alternate, so that each has subjects 0 to 2.
    assert people.startswith("95 % over 3 subjects top-1")
    assert people.endswith("(fewer than 5: probably too narrow)")
    known = metrics["calibration"]
    assert error == (
        f"calibration error    {100 * known[part]['ece']:.1f} %; at temperature "
        f"{known['temperature']:.2f}, fitted on the run's val, "
        f"{100 * known[part]['ece_scaled']:.1f} % and loss {known[part]['nll_scaled']:.3f}"
    )


def test_certainty_of_an_older_run_and_without_subjects(run: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "weights.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    metrics = read_metrics(run)
    del metrics["calibration"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    store = store_of(subjects=[f"video{number}" for number in range(60)])
    store.subjects_known = False
    lines = certainty(tmp_path, store, "test", rescore(tmp_path, store, "test")).lines()
    assert lines[1].startswith("95 % over 12 videos  top-1")
    error = read_metrics(run)["calibration"]["test"]["ece"]
    assert lines[2] == f"calibration error    {100 * error:.1f} %"


def test_part_without_clips(run: Path) -> None:
    store = store_of()
    store.splits[store.splits == "test"] = "val"
    with pytest.raises(InputError, match="no usable test clips"):
        rescore(run, store, "test")


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_clips_whose_features_are_not_finite_are_not_scored(run: Path, part: str) -> None:
    store = store_of()
    clip = int(store.split(part)[1])
    store[clip][-1] = np.inf
    with pytest.raises(InputError, match=rf"{part} clips \({store.clip_ids[clip]}\)"):
        rescore(run, store, part)


@pytest.mark.parametrize("how", ["train", "recording"])
def test_another_store_is_standardised_by_the_training_steps(tmp_path: Path, how: str) -> None:
    run = run_of(tmp_path / "one", f"data.standardise={how}")
    own, copy = store_of(), store_of()
    copy.key = "0d" * 32  # the same clips, but as another store
    copy.splits[copy.splits == "train"] = "val"
    mine, theirs = rescore(run, own, "test"), rescore(run, copy, "test")
    np.testing.assert_allclose(mine.log_probabilities, theirs.log_probabilities, atol=1e-4)
    said = [line for line in certainty(run, own, "test", mine).lines() if "unlabelled" in line]
    whose = "mean and std of their own recording"
    expected = f"unlabelled test data: used; features are standardised by {whose}"
    assert said == ([expected] if how == "recording" else [])


def test_own_store_that_is_gone(run: Path) -> None:
    with pytest.raises(InputError, match=r"features/fake\.zarr.*--store"):
        own_store(run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not YAML"),
        ("", "a mapping of sections, got None"),
        ("store: {}", "lacks recipe, store.classes"),
        ("{recipe: {}, store: abc}", "store = 'abc'"),
        ("{recipe: {}, store: [abc]}", r"store = \['abc'\]"),
        (
            "recipe: {}\nstore: {key: a, path: b, features: 3, statistics: null, classes: [null]}",
            r"config\.yaml: store\.classes\.0 = None",
        ),
    ],
)
def test_folders_without_a_configuration(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        own_store(tmp_path)
