from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import featstore
from featstore import InputError
from pipeline.runs.files import read_config, read_metrics
from pipeline.runs.folder import unfinished_of
from pipeline.train import choose as choose_module
from pipeline.train import folds as folds_module
from pipeline.train.choose import averaged
from pipeline.train.evaluate import rescore
from pipeline.train.folds import FEW_CLIPS, FOLDS, folds_of
from pipeline.train.learner import Learner
from pipeline.train.recipes.load import load_recipe, recipe_of
from pipeline.train.recipes.portfolio import Portfolio, load_recipes
from pipeline.train.tournament import Candidate, Tournament
from pipeline.train.train import train
from tests.fakes import FakeStore, ordered_store
from tests.sweeps import saved
from tests.training import quiet

NEAREST = ("nearest_class_mean", "nearest_neighbours")


def portfolio(*names: str, epochs: int = 2) -> Portfolio:
    return Portfolio(
        tuple(
            load_recipe(name, [] if name in NEAREST else [f"train.epochs={epochs}"])
            for name in names
        )
    )


def parts_of(store: FakeStore) -> dict[str, np.ndarray]:
    return {part: store.split(part) for part in ("train", "val", "test")}


def clusters(train: list[int], n: int = 40, steps: int = 3, noise: float = 0.05) -> FakeStore:
    """A class a direction, and the labels of the training clips; val and test have all classes."""
    rng, classes = np.random.default_rng(0), max(train) + 1
    labels = train + [i % classes for i in range(n)]
    centres = 3 * np.eye(classes, 8)
    clips = [centres[label] + noise * rng.normal(size=(steps, 8)) for label in labels]
    splits = ["train"] * len(train) + [("val", "test")[i * 2 // n] for i in range(n)]
    return FakeStore(clips, labels, splits, classes=tuple("abcdefgh"[:classes]))


def test_a_recipe_that_knows_order_wins_where_only_order_tells(tmp_path: Path) -> None:
    names = ("nearest_class_mean", "nearest_neighbours", "linear", "tcn")
    run = train(ordered_store(), portfolio(*names, epochs=12), out=tmp_path / "run", log=quiet)
    metrics = read_metrics(run)
    assert metrics["recipe"] == read_config(run)["recipe"]["name"] == "tcn"
    assert [row["recipe"] for row in metrics["portfolio"]["candidates"] if row["won"]] == ["tcn"]
    assert {row["recipe"] for row in metrics["portfolio"]["candidates"]} == set(names)
    assert metrics["test"]["top1"] > metrics["baselines"]["nearest_neighbours"]["test"]["top1"]
    assert metrics["portfolio"]["why"] in (run / "report.md").read_text()


@pytest.mark.parametrize("name", NEAREST)
def test_what_needs_no_training_leaves_a_normal_run(tmp_path: Path, name: str) -> None:
    store = clusters([0, 1, 2] * 5)
    run = train(store, load_recipe(name), out=tmp_path / "run", device="cpu", log=quiet)
    metrics = read_metrics(run)
    assert (metrics["test"]["top1"], metrics["epochs"]) == (1.0, 1)
    kept = load_file(run / "weights.safetensors")
    assert len(kept["known"]) == (3 if name == "nearest_class_mean" else 15)
    found = rescore(run, store, "test")
    assert np.array_equal(found.predicted, store.labels[found.clips])
    assert not metrics["baselines"]


def test_a_baseline_wins_where_a_training_has_learnt_nothing(tmp_path: Path) -> None:
    store = clusters([0, 1, 2])
    several = Portfolio((load_recipe("nearest_class_mean"), load_recipe("tcn", ["train.epochs=1"])))
    run = train(store, several, out=tmp_path / "run", device="cpu", log=quiet)
    assert read_metrics(run)["recipe"] == "nearest_class_mean"


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 1, 2] * 4])
def test_one_step_a_clip_and_one_clip_a_class_work(
    tmp_path: Path, steps: int, labels: list[int]
) -> None:
    several = portfolio(*NEAREST, "linear", "tcn", epochs=1)
    run = train(clusters(labels, steps=steps), several, out=tmp_path / "run", log=quiet)
    rows = read_metrics(run)["portfolio"]["candidates"]
    assert not any("failed" in row for row in rows)
    assert any(row["standardise"] == "clip" for row in rows) == (steps > 1)
    assert read_config(run)["recipe"]["data"]["steps"] == (1 if steps == 1 else 16)


def test_val_alone_compares_where_it_is_large_and_folds_where_it_is_small() -> None:
    small = ordered_store(150)
    folds, _ = folds_of(small, parts_of(small))
    assert len(folds) == FOLDS
    for learnt, held_out in folds:
        assert not set(small.subjects[learnt]) & set(small.subjects[held_out])
        assert set(small.splits[held_out]) <= {"train", "val"}
    large = ordered_store(5 * FEW_CLIPS)
    (single,), _ = folds_of(large, parts_of(large))
    assert [part.tolist() for part in single] == [
        large.split(part).tolist() for part in ("train", "val")
    ]


def test_a_class_with_one_clip_does_not_count_in_its_own_fold() -> None:
    store = clusters([0, 1, 2])
    for learnt, held_out in folds_of(store, parts_of(store))[0]:
        assert set(store.labels[held_out]) <= set(store.labels[learnt])


class Ended(Tournament):
    """A tournament with known probabilities of the true classes."""

    def __init__(self, *candidates: tuple[str, str, list[float]]) -> None:
        self.candidates = [
            Candidate(load_recipe(name, [f"data.standardise={how}"]), number, True)
            for number, (name, how, _) in enumerate(candidates)
        ]
        self.probabilities = [probabilities for *_, probabilities in candidates]

    def log_probabilities(self, one: Candidate) -> np.ndarray:
        return np.log(self.probabilities[one.number])


def test_recipes_that_are_right_where_the_winner_is_wrong_are_averaged_with_it() -> None:
    ended = Ended(
        ("linear", "none", [0.1, 0.9, 0.5]),
        ("mlp", "none", [0.8, 0.1, 0.5]),
        ("bilstm", "train", [0.9, 0.9, 0.9]),
        ("attentive", "none", [0.9, 0.9, 0.9]),
        ("tcn", "none", [0.9, 0.1, 0.5]),
    )
    ended.candidates[3].why = "out of memory"
    chosen, why = averaged(ended.candidates[-1], ended)
    assert [one.recipe.name for one in chosen] == ["tcn", "linear"]
    # -log(0.5), and -(log 0.9 + log 0.1 + log 0.5) / 3
    assert "of tcn, linear: its cross entropy is 0.693, and 1.034 with tcn alone" in why


def test_no_recipe_is_averaged_with_one_that_is_better_alone() -> None:
    ended = Ended(("linear", "none", [0.6, 0.5]), ("mlp", "none", [0.5, 0.5]))
    assert averaged(ended.candidates[0], ended) == ([ended.candidates[0]], "")


def test_three_recipes_are_averaged_at_most() -> None:
    rows = 0.1 + 0.8 * np.eye(5)
    ended = Ended(*[("linear", "none", row.tolist()) for row in rows])
    assert len(averaged(ended.candidates[0], ended)[0]) == 3


@pytest.mark.parametrize("few", [0, 1000])
def test_the_report_says_which_recipes_are_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(folds_module, "FEW_CLIPS", few)
    monkeypatch.setattr(choose_module, "_loss", lambda _, candidates: -len(candidates))
    names = ["linear", "mlp", "nearest_class_mean"]
    run = train(ordered_store(90), portfolio(*names), out=tmp_path / "run", log=quiet)
    metrics = read_metrics(run)
    assert sorted(metrics["mean_of"]) == names
    assert all(row["won"] for row in metrics["portfolio"]["candidates"])
    assert metrics["portfolio"]["why"] in (run / "report.md").read_text()


def test_test_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, looks = ordered_store(90), []
    predict = Learner.predict

    def spy(self: object, clips: np.ndarray) -> object:
        looks.append(bool(np.isin(clips, store.split("test")).any()))
        return predict(self, clips)

    monkeypatch.setattr(Learner, "predict", spy)
    train(store, portfolio("nearest_class_mean", "mlp", "linear"), out=tmp_path / "run", log=quiet)
    assert (sum(looks), looks[-1]) == (1, True)


def test_several_processes_choose_as_one_does(tmp_path: Path) -> None:
    store = featstore.open(saved(tmp_path / "store.zarr", ordered_store(90)))
    diverges = load_recipe("tcn", ["train.epochs=2", "train.lr=1e30", "train.clip_norm=null"])
    recipes = (*portfolio("nearest_class_mean", "linear", "mlp").recipes, diverges)
    one, two = (
        train(
            store,
            Portfolio(recipes),
            out=tmp_path / str(workers),
            device="cpu",
            workers=workers,
            log=quiet,
        )
        for workers in (1, 2)
    )
    candidates = [read_metrics(run)["portfolio"]["candidates"] for run in (one, two)]
    assert candidates[0] == candidates[1]
    assert "nan" in candidates[0][-1]["failed"]
    for name in ("weights.safetensors", "predictions.csv", "config.yaml"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize("few", [0, 1000])
def test_the_winner_has_the_weights_of_its_recipe_alone_also_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(folds_module, "FEW_CLIPS", few)
    monkeypatch.setattr(choose_module, "FIRST_STEPS", 1)
    store, several = ordered_store(90), portfolio("linear", "mlp", "tcn", "attentive", epochs=15)

    def until(count: int) -> object:
        lines = iter(range(count))

        def log(line: str) -> None:
            if next(lines, None) is None:
                raise KeyboardInterrupt

        return log

    for count in (3, 6, 9):
        with pytest.raises(KeyboardInterrupt):
            train(store, several, out=tmp_path / "run", device="cpu", log=until(count))
        assert unfinished_of(tmp_path / "run").is_dir()
    run = train(store, several, out=tmp_path / "run", device="cpu", log=quiet)
    assert not unfinished_of(run).exists()
    winner = recipe_of(read_config(run)["recipe"], "the winner")
    assert winner.train.folds == (FOLDS if few else 1)
    alone = train(store, winner, out=tmp_path / "alone", device="cpu", log=quiet)
    weights = [(one / "weights.safetensors").read_bytes() for one in (run, alone)]
    assert weights[0] == weights[1]


def test_an_interrupted_choice_is_not_continued_with_another_portfolio(tmp_path: Path) -> None:
    def log(line: str) -> None:
        if line.startswith("candidate mlp"):
            raise KeyboardInterrupt

    store = ordered_store(60)
    with pytest.raises(KeyboardInterrupt):
        train(store, portfolio("linear", "mlp"), out=tmp_path / "run", device="cpu", log=log)
    with pytest.raises(InputError, match="portfolio"):
        train(store, portfolio("linear"), out=tmp_path / "run", device="cpu", log=quiet)


def test_fields_are_set_in_every_recipe_of_the_portfolio_and_those_of_heads_refused() -> None:
    several = load_recipes("auto", ["train.lr=0.5", "data.standardise=train"])
    assert isinstance(several, Portfolio)
    assert {recipe.train.lr for recipe in several.recipes} == {0.5}
    assert {recipe.data.standardise for recipe in several.recipes} == {"train"}
    plain = [recipe.model_copy(update={"name": ""}) for recipe in several.recipes]
    assert all(plain.count(one) == 1 for one in plain)
    with pytest.raises(InputError, match=r"head\.hidden"):
        load_recipes("auto", ["head.hidden=8"])
