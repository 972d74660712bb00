"""Every recipe that comes along trains, with everything switched on that a recipe can have."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.runs.files import read_metrics, read_predictions
from pipeline.train.recipes.load import load_recipe, recipe_names
from pipeline.train.train import train
from tests.fakes import ordered_store

AUGMENT = ["crop=0.6", "stride=2", "drop=0.2", "reverse=0.1", "noise=0.1", "mixup=0.2"]


def quiet(line: str) -> None:
    pass


@pytest.mark.parametrize("steps", ["null", "6"])
@pytest.mark.parametrize("name", recipe_names())
def test_recipes_train_with_every_augmentation(tmp_path: Path, name: str, steps: str) -> None:
    changes = [f"augment.{each}" for each in AUGMENT]
    changes += ["train.epochs=1", "data.standardise=recording", f"data.steps={steps}"]
    files = []
    for place in ("one", "two"):
        recipe = load_recipe(name, changes)
        run = train(ordered_store(60), recipe, out=tmp_path / place, log=quiet)
        probabilities = [float(row["probability"]) for row in read_predictions(run)]
        assert np.isfinite(probabilities).all()
        files.append((run / "weights.safetensors").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("change", AUGMENT[:4])
def test_every_augmentation_changes_what_is_learnt(tmp_path: Path, change: str) -> None:
    files = []
    for place, more in (("plain", []), ("changed", [f"augment.{change}"])):
        overrides = ["train.epochs=1", "head.hidden=4", "data.steps=null", *more]
        recipe = load_recipe("baseline", overrides)
        run = train(ordered_store(60), recipe, out=tmp_path / place, log=quiet)
        files.append((run / "weights.safetensors").read_bytes())
    assert files[0] != files[1]


@pytest.mark.parametrize("name", ["attentive", "tcn", "transformer"])
def test_heads_that_know_time_tell_a_path_from_its_reverse(tmp_path: Path, name: str) -> None:
    changes = ["train.epochs=12", "head.hidden=32", "head.dropout=0", "train.lr=3e-3"]
    run = train(ordered_store(), load_recipe(name, changes), out=tmp_path / "run", log=quiet)
    metrics = read_metrics(run)
    assert metrics["test"]["mean_class_accuracy"] > 0.9
    assert (metrics["attention_entropy"] is not None) == (name == "attentive")
