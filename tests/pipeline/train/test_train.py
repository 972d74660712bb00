import csv
import html
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from featstore.errors import InputError
from pipeline.metrics.predictions import attention_entropy
from pipeline.runs.files import read_metrics, read_predictions
from pipeline.train import redraw
from pipeline.train.data.feed import Feed
from pipeline.train.imbalance import sampling_probabilities
from pipeline.train.log import progress
from pipeline.train.predict import predict
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.drawing import figures
from tests.fakes import FakeStore, ordered_store
from tests.training import few_of_b_in_train, head_of, quiet, recipe_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole training of clips that only their order tells apart."""
    recipe = recipe_of("train.epochs=8", "train.lr=1e-2", "data.steps=null")
    out = tmp_path_factory.mktemp("runs") / "deep" / "one"
    with figures(drawn=True):
        return train(ordered_store(), recipe, out=out, seed=3, log=quiet)


def test_run_folder_is_whole(run: Path) -> None:
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    assert names == [
        "config.yaml",
        "figures/attention.png",
        "figures/confusion.png",
        "figures/curves.png",
        "figures/per_class.png",
        "figures/reliability.png",
        "history.csv",
        "metrics.json",
        "predictions.csv",
        "predictions.safetensors",
        "report.html",
        "report.md",
        "weights.safetensors",
    ]
    assert [path.name for path in run.parent.iterdir()] == ["one"]


def test_figures_are_drawn_again_without_the_store(run: Path, tmp_path: Path, monkeypatch) -> None:
    copy, lines, drawn = tmp_path / "copy", list[str](), list[tuple[Any, ...]]()
    shutil.copytree(run, copy)
    monkeypatch.setattr(redraw, "draw_figures", lambda *given: drawn.append(given))
    redraw.redraw(copy, "svg", log=lines.append)
    ((folder, classes, monitor, history, predictions, _, store, kind),) = drawn
    assert (folder, classes, kind) == (copy / "figures", list(ordered_store().classes), "svg")
    assert (monitor, len(history), store) == ("mean_class_accuracy", 8, None)
    for part in ("val", "test"):
        assert predictions[part].metrics.scores["top1"] == read_metrics(run)[part]["top1"]
    (line,) = lines
    assert line.startswith("no figure of attention: ")
    (copy / "predictions.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"predictions.safetensors"):
        redraw.redraw(copy, "svg", log=lines.append)


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
    assert config["versions"]["torch"] == version("torch")


def test_the_page_has_the_recipe_to_train_again(run: Path, tmp_path: Path) -> None:
    page = (run / "report.html").read_text("utf-8")
    recipe = re.search(r"(?s)<summary>recipe.yaml</summary><pre>(.*?)</pre>", page)
    assert recipe is not None
    (tmp_path / "recipe.yaml").write_text(html.unescape(recipe[1]), "utf-8")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert load_recipe(str(tmp_path / "recipe.yaml")).model_dump() == config["recipe"]


def test_each_epoch_says_the_best_score_and_the_time_left() -> None:
    rows = [
        {"epoch": n, "train_loss": 1.0, "train_top1": 0.5, "val_loss": loss, "val_top1": 0.5,
         "data_share": 0.0, "seconds": float(n)}
        for n, loss in ((1, 0.7), (2, 0.4), (3, 0.9))
    ]  # fmt: skip
    options = recipe_of("train.epochs=13", "train.monitor=loss").train
    line = progress(rows, options, 2)
    assert line.startswith("epoch   3 of 13  ")
    assert line.endswith("  best 0.400 in epoch 2  at most 20.0 s left")
    short = recipe_of("train.epochs=3", "train.min_epochs=1", "train.monitor=loss").train
    assert progress(rows, short, 2).endswith("  best 0.400 in epoch 2")


def test_weights_are_those_of_the_best_epoch(run: Path) -> None:
    store, recipe = ordered_store(), recipe_of("data.steps=null")
    head = head_of(store, recipe)
    head.load_state_dict(load_file(run / "weights.safetensors"))
    val = predict(head, Feed(store, CPU), store.split("val"), batch_size=32)
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


@pytest.mark.parametrize("imbalance", ["none", "sampler"])
def test_learns_from_train_chooses_by_val_and_looks_at_test_once(
    tmp_path: Path, imbalance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[int], bool, Any]] = []
    plain = Feed.batches

    def watched(self: Feed, clips: np.ndarray, size: int, **options: Any) -> Any:
        order = options.get("rng") is not None
        seen.append((clips.tolist(), order, options.get("probabilities")))
        return plain(self, clips, size, **options)

    monkeypatch.setattr(Feed, "batches", watched)
    store = few_of_b_in_train()
    store.status[0] = 1
    recipe = recipe_of(f"train.imbalance={imbalance}")
    train(store, recipe, out=tmp_path / "one", log=quiet)
    part = {name: store.split(name) for name in ("train", "val", "test")}
    epoch = [(part["train"].tolist(), True), (part["val"].tolist(), False)]
    plain = [(part[name].tolist(), False) for name in ("train", "val", "test")]  # baselines
    assert [call[:2] for call in seen] == [*epoch, *epoch, plain[2], *plain]
    drawn = sampling_probabilities(store.labels[part["train"]], 2)
    for _, learning, probabilities in seen:
        if learning and imbalance == "sampler":
            np.testing.assert_array_equal(probabilities, drawn)
        else:
            assert probabilities is None


def test_attention_entropy_is_that_of_val_clips_of_several_steps(tmp_path: Path) -> None:
    store = ordered_store(40)
    one_step = int(store.split("val")[0])
    store.row_size[one_step] = 1
    recipe = recipe_of("data.steps=4", "train.lr=0.1")  # so that attention is far from even
    run = train(store, recipe, out=tmp_path / "one", log=quiet)
    metrics = read_metrics(run)
    head = head_of(store, recipe)
    head.load_state_dict(load_file(run / "weights.safetensors"))
    clips = store.split("val")[1:]
    got = predict(head, Feed(store, CPU, steps=4), clips, batch_size=32)
    assert got.attention is not None
    expected = attention_entropy(got.attention)
    assert 0 < expected < 1
    assert metrics["attention_entropy"] == pytest.approx(expected, rel=1e-6)
    assert metrics["one_step_val_clips"] == 1
    assert f"{expected:.3f} of log(steps)" in (run / "report.md").read_text()
    without = recipe_of("head.pool=mean")
    plain = train(store, without, out=tmp_path / "two", log=quiet)
    assert read_metrics(plain)["attention_entropy"] is None


@pytest.mark.parametrize("untrained", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_doubts_about_the_store_are_carried_everywhere(
    tmp_path: Path, untrained: bool, known: bool
) -> None:
    options: dict[str, Any] = {} if known else {"subjects": None}
    store = ordered_store(40, untrained=untrained, **options)
    lines: list[str] = []
    run = train(store, recipe_of(), out=tmp_path / "one", log=lines.append)
    metrics = read_metrics(run)
    assert (metrics["untrained"], metrics["subjects_known"]) == (untrained, known)
    for text in ("\n".join(lines), (run / "report.md").read_text()):
        assert ("backbone is untrained" in text) == untrained
        assert ("ubjects are unknown" in text) == (not known)


@pytest.mark.parametrize(("min_epochs", "waited"), [(0, "1 epoch"), (4, "4 epochs")])
def test_reason_to_stop_counts_the_epochs_since_the_best(
    tmp_path: Path, min_epochs: int, waited: str
) -> None:
    # Nothing is learnt, so that the first epoch stays the best.
    recipe = recipe_of(
        *("train.lr=1e-30", "train.weight_decay=0", "train.epochs=9", "train.patience=1"),
        f"train.min_epochs={min_epochs}",
    )
    lines: list[str] = []
    run = train(ordered_store(40), recipe, out=tmp_path / "one", log=lines.append)
    metrics = read_metrics(run)
    assert (metrics["best_epoch"], metrics["stopped"]) == (1, "patience")
    assert metrics["why_stopped"] == f"val mean_class_accuracy had not improved for {waited}"
    assert metrics["why_stopped"] in lines[-1]
    assert f"{metrics['why_stopped']}." in (run / "report.md").read_text()


@pytest.mark.parametrize(("mixup", "column"), [(0, "train_top1"), (0.2, "train_target_mass")])
def test_log_and_history_name_the_train_score(tmp_path: Path, mixup: float, column: str) -> None:
    lines: list[str] = []
    recipe = recipe_of(f"augment.mixup={mixup}")
    run = train(ordered_store(40), recipe, out=tmp_path / "one", log=lines.append)
    assert column in (run / "history.csv").read_text().splitlines()[0]
    assert any("mixup: train mass" in line for line in lines) == bool(mixup)


def test_non_finite_loss_stops_with_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    store = ordered_store(40)
    store[0][:] = np.nan
    with pytest.raises(InputError, match=r"train loss.*epoch 1.*clip_norm"):
        train(store, recipe_of(), out=tmp_path / "one", log=quiet)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clips_whose_features_are_not_finite_are_named_and_never_scored(
    tmp_path: Path, part: str, value: float
) -> None:
    store = ordered_store(60)
    clips = store.split(part)[1:5]
    for clip in clips:
        store[clip][0, 0] = value
    first, second, third, fourth = store.clip_ids[clips]
    message = rf"4 of 12 {part} clips \({first}, {second}, {third}, \.\.\.\).*not finite.*verify"
    with pytest.raises(InputError, match=message) as raised:
        train(store, recipe_of(), out=tmp_path / "one", log=quiet)
    assert fourth not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("batch", "part"), [(4, "train"), (1000, "val")])
def test_a_training_that_diverges_is_not_blamed_on_clips(
    tmp_path: Path, batch: int, part: str
) -> None:
    recipe = recipe_of("train.lr=1e38", "train.clip_norm=null", f"train.batch_size={batch}")
    with pytest.raises(InputError, match=rf"{part} loss.*\d.*lower train\.lr"):
        train(ordered_store(60), recipe, out=tmp_path / "one", log=quiet)
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


def test_number_of_classes_is_the_class_lists(tmp_path: Path) -> None:
    store = ordered_store(40, classes=("a", "b", "c", "d"))
    lines: list[str] = []
    run = train(store, recipe_of(), out=tmp_path / "one", log=lines.append)
    assert load_file(run / "weights.safetensors")["classify.bias"].shape == (4,)
    assert "classes without training clips: c, d" in lines
    assert read_metrics(run)["train"]["classes_without_clips"] == ["c", "d"]


def test_taken_folder_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    lines: list[str] = []
    with pytest.raises(InputError, match="not an empty folder"):
        train(ordered_store(40), recipe_of(), out=tmp_path, log=lines.append)
    assert not lines


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
