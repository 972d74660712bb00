"""Runs that average heads: one for each fold of train and val, or of several recipes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from featstore import InputError
from models.ensemble import Ensemble
from models.heads import build_head
from pipeline.runs.files import read_config, read_history, read_metrics
from pipeline.runs.folder import unfinished_of
from pipeline.train.data.standardise import read_training, standardiser
from pipeline.train.epochs import fit
from pipeline.train.evaluate import rescore
from pipeline.train.folds import divided, train_and_val
from pipeline.train.recipes.load import Recipe, load_recipe
from pipeline.train.train import train
from pipeline.train.trial import learner_of
from tests.drawing import figures
from tests.fakes import FakeStore, ordered_store
from tests.training import quiet

FOLDS = 3


def parts_of(store: FakeStore) -> dict[str, np.ndarray]:
    return {part: store.split(part) for part in ("train", "val", "test")}


def recipe_in_folds(name: str, *fields: str) -> Recipe:
    return load_recipe(name, [f"train.folds={FOLDS}", "data.standardise=train", *fields])


@pytest.fixture(scope="module")
def store() -> FakeStore:
    return ordered_store(90)


@pytest.fixture(scope="module")
def run(store: FakeStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = recipe_in_folds("bilstm", "train.epochs=3")
    return train(
        store, recipe, out=tmp_path_factory.mktemp("runs") / "run", device="cpu", log=quiet
    )


def test_val_is_scored_by_the_head_that_did_not_learn_from_it_and_test_by_the_mean(
    store: FakeStore, run: Path
) -> None:
    parts, device = parts_of(store), torch.device("cpu")
    single = load_recipe("bilstm", ["data.standardise=train", "train.epochs=3"])
    val, test = {}, []
    for learnt, scored in divided(store, parts, FOLDS):
        measured = train_and_val(parts)
        with learner_of(
            store, single, learnt, scored, seed=0, device=device, measured=measured
        ) as learner:
            fit(learner, scored, log=quiet)
            held_out = [clip for clip in parts["val"] if clip not in learnt]
            predictions = learner.predict(np.array(held_out))
            val |= dict(zip(held_out, predictions.log_probabilities, strict=True))
            test.append(np.exp(learner.predict(parts["test"]).log_probabilities))
    written = load_file(run / "predictions.safetensors")
    np.testing.assert_allclose(written["val"], [val[clip] for clip in parts["val"]], atol=1e-6)
    np.testing.assert_allclose(np.exp(written["test"]), np.mean(test, axis=0), atol=1e-6)


def test_the_weights_give_the_test_scores_again_and_refuse_val(store: FakeStore, run: Path) -> None:
    written = load_file(run / "predictions.safetensors")
    predictions = rescore(run, store, "test", device="cpu")
    np.testing.assert_allclose(predictions.log_probabilities, written["test"], atol=1e-5)
    with pytest.raises(InputError, match=r"cross-validation.*--part test"):
        rescore(run, store, "val")


def test_features_are_standardised_by_train_and_val(store: FakeStore, run: Path) -> None:
    expected = standardiser(store, "train", train_and_val(parts_of(store)))
    assert expected is not None
    np.testing.assert_array_equal(read_training(run).mean, expected.training.mean)


def test_what_the_run_says(store: FakeStore, run: Path) -> None:
    metrics, parts = read_metrics(run), parts_of(store)
    assert metrics["folds"] == FOLDS
    assert metrics["train"]["clips"] == len(parts["train"]) + len(parts["val"])
    assert metrics["val"]["clips"] == len(parts["val"])
    assert len(read_history(run)) == 3
    assert f"mean of {FOLDS} heads" in (run / "report.md").read_text()


@pytest.mark.parametrize("lines", [6, 9, 12])
def test_an_interrupted_run_ends_with_the_same_bytes(
    store: FakeStore, run: Path, tmp_path: Path, lines: int
) -> None:
    left = iter(range(lines))

    def log(line: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    recipe, out = recipe_in_folds("bilstm", "train.epochs=3"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(store, recipe, out=out, device="cpu", log=log)
    assert unfinished_of(out).is_dir()
    train(store, recipe, out=out, device="cpu", log=quiet)
    for name in ("weights.safetensors", "predictions.csv"):
        assert (out / name).read_bytes() == (run / name).read_bytes()
    assert not unfinished_of(out).exists()


def mean_recipe(*names: str, folds: int = 1) -> Recipe:
    fields = ["train.epochs=3", f"train.folds={folds}", "data.standardise=train"]
    first, *others = (load_recipe(name, fields) for name in names)
    return first.model_copy(update={"mean_with": tuple(others)})


@pytest.mark.parametrize("folds", [1, FOLDS])
def test_a_mean_of_recipes_is_that_of_their_runs(
    store: FakeStore, tmp_path: Path, folds: int
) -> None:
    recipe = mean_recipe("attentive", "mlp", "nearest_class_mean", folds=folds)
    runs = [
        train(store, one, out=tmp_path / str(number), device="cpu", log=quiet)
        for number, one in enumerate((recipe, *recipe.members))
    ]
    written, *alone = (load_file(run / "predictions.safetensors") for run in runs)
    for part in ("val", "test"):
        expected = np.mean([np.exp(one[part]) for one in alone], axis=0)
        np.testing.assert_allclose(np.exp(written[part]), expected, atol=1e-6)
    again = rescore(runs[0], store, "test", device="cpu")
    np.testing.assert_allclose(again.log_probabilities, written["test"], atol=1e-5)
    metrics = read_metrics(runs[0])
    assert metrics["recipe"] == "attentive+mlp+nearest_class_mean"
    assert metrics["test"]["top1"] == np.mean(again.predicted == again.labels)
    report = (runs[0] / "report.md").read_text()
    assert f"mean of {3 * folds} heads of attentive, mlp, nearest" in report


@pytest.mark.parametrize("lines", [4, 9])
def test_an_interrupted_mean_of_recipes_ends_with_the_same_bytes(
    store: FakeStore, tmp_path: Path, lines: int
) -> None:
    left = iter(range(lines))

    def log(line: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    recipe = mean_recipe("mlp", "linear")
    whole = train(store, recipe, out=tmp_path / "whole", device="cpu", log=quiet)
    with pytest.raises(KeyboardInterrupt):
        train(store, recipe, out=tmp_path / "run", device="cpu", log=log)
    train(store, recipe, out=tmp_path / "run", device="cpu", log=quiet)
    for name in ("weights.safetensors", "predictions.csv", "config.yaml"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


def test_config_trains_a_mean_of_recipes_again(store: FakeStore, tmp_path: Path) -> None:
    recipe = mean_recipe("mlp", "tcn")  # with and without mixup, so there is no joint train score
    with figures(drawn=True):
        first = train(store, recipe, out=tmp_path / "1", device="cpu", log=quiet)
    assert (first / "figures" / "curves.png").is_file()
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(read_config(first)["recipe"]))
    recipe = load_recipe(tmp_path / "again.yaml")
    second = train(store, recipe, out=tmp_path / "2", device="cpu", log=quiet)
    weights = [(run / "weights.safetensors").read_bytes() for run in (first, second)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("name", ["nearest_class_mean", "nearest_neighbours"])
def test_heads_without_training_have_folds_too(store: FakeStore, tmp_path: Path, name: str) -> None:
    out = train(store, recipe_in_folds(name), out=tmp_path / "run", device="cpu", log=quiet)
    written = load_file(out / "predictions.safetensors")
    predictions = rescore(out, store, "test", device="cpu")
    np.testing.assert_allclose(predictions.log_probabilities, written["test"], atol=1e-5)


def test_more_folds_than_people_are_refused(store: FakeStore, tmp_path: Path) -> None:
    people = len(np.unique(store.subjects[train_and_val(parts_of(store))]))
    recipe = load_recipe("linear", [f"train.folds={people + 1}"])
    with pytest.raises(InputError, match=f"at most {people}$"):
        train(store, recipe, out=tmp_path / "run", log=quiet)


@pytest.mark.parametrize("kind", ["recurrent", "tcn", "attentive", "linear"])
def test_clips_without_padding_have_the_same_logits(kind: str) -> None:
    torch.manual_seed(0)
    ensemble = Ensemble([build_head(kind, 6, 4) for _ in range(3)]).eval()
    steps = torch.randn(5, 7, 6)
    mask = torch.ones(5, 7, dtype=torch.bool)
    with torch.no_grad():
        padded, whole = ensemble(steps, mask), ensemble.read_whole(steps)
    torch.testing.assert_close(padded.logits, whole.logits)
    torch.testing.assert_close(padded.logits.exp().sum(1), torch.ones(5))
    if padded.attention is not None:
        torch.testing.assert_close(padded.attention.sum(dim=1), torch.ones(5))
