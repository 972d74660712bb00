import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from featstore.errors import InputError
from models.heads import build_head
from pipeline.config import Recipe, Train, load_recipe
from pipeline.evaluate import predict
from pipeline.metrics import metrics_of
from pipeline.run import read_metrics, read_predictions
from pipeline.train import Learner, fit, make_loss, train
from tests.fakes import FakeStore, ordered_store

SMALL = ["head.hidden=8", "train.epochs=2"]


def recipe_of(*overrides: str, name: str = "bilstm") -> Recipe:
    return load_recipe(name, [*SMALL, *overrides])


def quiet(line: str) -> None:
    pass


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.results.draw_figures", lambda folder, *rest: folder.mkdir())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole training of clips that only their order tells apart."""
    recipe = recipe_of("train.epochs=8", "train.lr=1e-2", "data.steps=null")
    out = tmp_path_factory.mktemp("runs") / "deep" / "one"
    return train(ordered_store(), recipe, out=out, seed=3, log=quiet)


def test_run_folder_is_whole(run: Path) -> None:
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    assert names == [
        "config.yaml",
        "figures/attention.png",
        "figures/confusion.png",
        "figures/curves.png",
        "figures/per_class.png",
        "history.csv",
        "metrics.json",
        "predictions.csv",
        "report.md",
        "weights.safetensors",
    ]
    assert [path.name for path in run.parent.iterdir()] == ["one"]


def test_order_is_learnt(run: Path) -> None:
    assert read_metrics(run)["test"]["mean_class_accuracy"] > 0.9


def test_metrics_and_config_say_what_was_done(run: Path) -> None:
    metrics, store = read_metrics(run), ordered_store()
    assert metrics["store_key"] == store.key
    assert (metrics["seed"], metrics["recipe"], metrics["epochs"]) == (3, "bilstm", 8)
    assert metrics["stopped"] == "epochs"
    assert metrics["val"]["clips"] + metrics["test"]["clips"] == 60
    assert np.array(metrics["val"]["confusion"]).sum() == metrics["val"]["clips"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["recipe"]["train"]["lr"] == 0.01
    assert config["store"]["key"] == store.key
    assert config["versions"]["torch"] == torch.__version__


def test_weights_are_those_of_the_best_epoch(run: Path) -> None:
    store, recipe = ordered_store(), recipe_of("data.steps=null")
    options = recipe.head.model_dump(exclude={"num_classes"})
    head = build_head(features=store.dim, classes=2, **options)
    head.load_state_dict(load_file(run / "weights.safetensors"))
    val = predict(head, store, store.split("val"), batch_size=32, steps=None)
    metrics = read_metrics(run)
    assert val.metrics.mean_class_accuracy == metrics["val"]["mean_class_accuracy"]
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = rows[metrics["best_epoch"] - 1]
    assert float(best["val_loss"]) == pytest.approx(val.loss, rel=1e-4)
    scores = [float(row["val_mean_class_accuracy"]) for row in rows]
    assert scores.index(max(scores)) + 1 == metrics["best_epoch"]
    written = [row["prediction"] for row in read_predictions(run) if row["part"] == "val"]
    assert written == [store.classes[i] for i in val.predicted]


@pytest.mark.usefixtures("no_figures")
def test_same_seed_same_bytes_and_no_trace_in_global_state(tmp_path: Path) -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.rand(3)  # what happened before does not matter
        run = train(ordered_store(), recipe_of(), out=tmp_path / name, seed=seed, log=quiet)
        files.append((run / "weights.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    torch.rand(3), torch.rand(3), torch.rand(3)
    assert torch.equal(torch.get_rng_state(), after)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


class Scripted:
    """Stands in for a `Learner`: val top-1 by epoch is given, the weight is the epoch."""

    def __init__(self, scores: list[float], **options: Any) -> None:
        settings = {"monitor": "top1", "epochs": len(scores), "patience": 2, "min_epochs": 0}
        self.recipe = Recipe(name="scripted", train=Train(**(settings | options)))
        self.head, self.scores, self.epochs = torch.nn.Linear(1, 1), scores, 0
        self.optimizer = torch.optim.SGD(self.head.parameters(), lr=1.0)

    def epoch(self) -> tuple[float, float]:
        self.epochs += 1
        self.optimizer.step()
        torch.nn.init.constant_(self.head.weight, self.epochs)
        return 1.0, 0.5

    def predict(self, clips: object) -> Any:
        right = round(100 * self.scores[self.epochs - 1])
        metrics = metrics_of(np.array([[right, 100 - right], [0, 0]]))
        return SimpleNamespace(loss=1 - right / 100, metrics=metrics)


@pytest.mark.parametrize(
    ("scores", "options", "best", "epochs", "stopped"),
    [
        ([0.1, 0.3, 0.2, 0.3, 0.9], {}, 2, 4, "patience"),  # a tie is no improvement
        ([0.1, 0.3, 0.2, 0.4, 0.3], {}, 4, 5, "epochs"),
        ([0.5, 0.1, 0.1, 0.1, 0.1, 0.9], {"min_epochs": 3}, 1, 5, "patience"),
        ([0.5, 0.1, 0.1, 0.1, 0.6], {"min_epochs": 3}, 5, 5, "epochs"),
        ([0.5, 0.1, 0.1, 0.1, 0.1], {"patience": None}, 1, 5, "epochs"),
        ([0.1, 0.3, 0.2, 0.3, 0.9], {"monitor": "loss"}, 2, 4, "patience"),
    ],
)
def test_early_stopping(
    scores: list[float], options: dict[str, Any], best: int, epochs: int, stopped: str
) -> None:
    learner = Scripted(scores, **options)
    got = fit(learner, np.array([]), log=quiet)  # type: ignore[arg-type]
    assert (got.best_epoch, len(got.history), got.stopped) == (best, epochs, stopped)
    assert learner.head.weight.item() == best


@pytest.mark.parametrize("schedule", ["none", "plateau", "cosine"])
def test_schedules(schedule: str) -> None:
    rates = [
        row["lr"]
        for row in fit(
            Scripted([0.5] + [0.1] * 9, patience=None, schedule=schedule),  # type: ignore[arg-type]
            np.array([]),
            log=quiet,
        ).history
    ]
    assert rates[0] == 1.0
    last = {"none": 1.0, "plateau": 0.5, "cosine": (1 + np.cos(0.9 * np.pi)) / 2}[schedule]
    assert rates[-1] == pytest.approx(last)


@pytest.mark.parametrize("imbalance", ["none", "sampler", "class_weights", "focal"])
def test_one_imbalance_strategy_at_a_time(imbalance: str) -> None:
    store = ordered_store(60, classes=("a", "b", "never"))
    store.labels[store.split("train")[:25]] = 0
    recipe = recipe_of(f"train.imbalance={imbalance}")
    head = build_head("recurrent", store.dim, 3, hidden=4)
    learner = Learner(head, store, recipe, store.split("train"), seed=0)
    assert (learner.probabilities is not None) == (imbalance == "sampler")
    logits, labels = torch.tensor([[2.0, 0, 0], [0, 0, 1]]), torch.tensor([0, 1])
    plain = torch.nn.functional.cross_entropy(logits, labels)
    same = torch.isclose(learner.loss(logits, labels), plain)
    assert bool(same) == (imbalance in {"none", "sampler"})
    assert np.isfinite(learner.epoch()).all()


def test_class_without_training_clips_has_no_weight() -> None:
    loss = make_loss(
        Train(imbalance="class_weights"), np.array([1.0, 1.0, 0.0]), torch.device("cpu")
    )
    logits = torch.randn(2, 3)
    alone = loss(logits[:1], torch.tensor([0]))
    torch.testing.assert_close(loss(logits, torch.tensor([0, 2])), alone)


def test_train_score_under_mixup_is_the_mass_of_the_predicted_class() -> None:
    store = ordered_store(60)
    head = build_head("recurrent", store.dim, 2, hidden=4)
    torch.nn.init.constant_(head.classify.weight, 0.0)
    head.classify.bias.data = torch.tensor([1.0, -1.0])  # whatever comes, it says "a"
    train_clips = store.split("train")
    options = ["augment.mixup=5", "train.imbalance=none", "train.lr=1e-12", "train.batch_size=36"]
    learner = Learner(head, store, recipe_of(*options), train_clips, seed=0)
    _, mass = learner.epoch()
    assert len(train_clips) == 36
    share_of_a = (store.labels[train_clips] == 0).mean()
    assert mass == pytest.approx(share_of_a)  # counting hits of either class would give more


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(("mixup", "column"), [(0, "train_top1"), (0.2, "train_target_mass")])
def test_log_and_history_name_the_train_score(tmp_path: Path, mixup: float, column: str) -> None:
    lines: list[str] = []
    recipe = recipe_of(f"augment.mixup={mixup}")
    run = train(ordered_store(40), recipe, out=tmp_path / "one", log=lines.append)
    assert column in (run / "history.csv").read_text().splitlines()[0]
    assert any("mixup: train mass" in line for line in lines) == bool(mixup)


@pytest.mark.usefixtures("no_figures")
def test_non_finite_loss_stops_with_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    store = ordered_store(40)
    store[0][:] = np.nan
    with pytest.raises(InputError, match=r"train loss became nan in epoch 1.*clip_norm"):
        train(store, recipe_of(), out=tmp_path / "one", log=quiet)
    assert not list(tmp_path.iterdir())


def test_empty_test_part_is_said(tmp_path: Path) -> None:
    store = ordered_store(60)
    store.splits[store.splits == "test"] = "val"
    lines: list[str] = []
    run = train(store, recipe_of(), out=tmp_path / "one", log=lines.append)
    assert "no test clips: only val is scored" in lines
    metrics = read_metrics(run)
    assert metrics["test"]["clips"] == 0
    assert metrics["test"]["top1"] is None
    assert "The test part has no clips" in (run / "report.md").read_text()


@pytest.mark.usefixtures("no_figures")
def test_number_of_classes_is_the_class_lists(tmp_path: Path) -> None:
    store = ordered_store(40, classes=("a", "b", "c", "d"))
    lines: list[str] = []
    run = train(store, recipe_of(), out=tmp_path / "one", log=lines.append)
    assert load_file(run / "weights.safetensors")["classify.bias"].shape == (4,)
    assert "no training clips, so never learnt: c, d" in lines
    assert read_metrics(run)["train"]["classes_without_clips"] == ["c", "d"]


def test_taken_folder_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    lines: list[str] = []
    with pytest.raises(InputError, match="not an empty folder"):
        train(ordered_store(40), recipe_of(), out=tmp_path, log=lines.append)
    assert not lines


@pytest.mark.usefixtures("no_figures")
def test_baseline_on_the_same_and_on_other_clips(tmp_path: Path) -> None:
    store = ordered_store(60)
    plain = train(store, recipe_of(name="baseline"), out=tmp_path / "plain", log=quiet)
    run = train(store, recipe_of(), out=tmp_path / "one", baseline=plain, log=quiet)
    compared = read_metrics(run)["baseline"]
    assert (compared["name"], compared["recipe"]) == ("plain", "baseline")
    assert compared["test"]["common"] == read_metrics(run)["test"]["clips"]
    assert "differ**" not in (run / "report.md").read_text()

    clips = [store[i] for i in range(55)]
    fewer = FakeStore(clips, store.labels[:55].tolist(), store.splits[:55].tolist())
    other = train(fewer, recipe_of(), out=tmp_path / "two", baseline=plain, log=quiet)
    assert (
        "**The test clips differ**: 9 here, 12 in the baseline, 9 in both"
        in (other / "report.md").read_text()
    )
    with pytest.raises(InputError, match="not a run"):
        train(store, recipe_of(), out=tmp_path / "x", baseline=tmp_path / "nowhere", log=quiet)
