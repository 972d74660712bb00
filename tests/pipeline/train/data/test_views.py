"""Training on augmented views: what is drawn, what is scored, and which stores they are."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import featstore
from featstore.errors import InputError, StoreNotFoundError
from featstore.reading.store import Store
from pipeline.cli import main
from pipeline.runs.files import read_config, read_metrics
from pipeline.train.data.feed import Feed
from pipeline.train.data.standardise import Training, read_training
from pipeline.train.data.views import draw_views, fusion_of, mean_probabilities, view_paths
from pipeline.train.evaluate import load_head, own_store, rescore
from pipeline.train.learner import Learner, make_head, reproducible
from pipeline.train.predict import predict
from pipeline.train.recipes.load import Recipe, load_recipe
from pipeline.train.train import train
from tests.builds import build as build_store
from tests.builds import options_of, silent, write_dataset
from tests.views import write_view

CPU = torch.device("cpu")
CLIPS = 60
LABELS = np.arange(CLIPS) // 3 % 4
PLAIN = {"imported": "arrays", "dtype": "float32"}
LINEAR = ["head.pool=mean", "train.epochs=3", "train.batch_size=8"]


def view(path: Path, number: int) -> Store:
    """A view whose last two features are the numbers of the clip and of the view."""
    steps = np.arange(CLIPS).repeat(4)
    noise = np.random.default_rng(number).normal(size=(len(steps), 4))
    signal = np.eye(4)[LABELS].repeat(4, 0) + 0.3 * noise
    features = np.concatenate([signal, steps[:, None], np.full((len(steps), 1), number)], 1)
    configuration = PLAIN | ({"view": {"number": number}} if number else {})
    return write_view(
        path, lengths=[20] * CLIPS, every=5, features=features, dim=6, label=LABELS,
        label_name=np.array(list("abcd")), configuration=configuration,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    folder = tmp_path_factory.mktemp("features")
    return [view(folder / f"{number}.zarr", number) for number in range(3)]


@pytest.fixture(scope="module")
def views(stores: list[Store]) -> Store:
    return featstore.fuse(stores)


def linear(*changes: str) -> Recipe:
    return load_recipe("linear", [*LINEAR, *changes])


def drawn_by(store: Store, recipe: Recipe, seed: int, monkeypatch: Any) -> list[tuple[int, ...]]:
    """What each of two epochs draws: the views of all clips, in the order of the clips."""
    epochs: list[dict[int, int]] = []

    def recorded(features: torch.Tensor, *more: Any) -> torch.Tensor:
        one = draw_views(features, *more)
        assert one.shape == (*features.shape[:2], 6)
        assert (one[..., 4:] == one[:, :1, 4:]).all()  # one view for all steps of a clip
        epochs[-1] |= {int(row[0, 4]): int(row[0, 5]) for row in one}
        return one

    monkeypatch.setattr("pipeline.train.learner.draw_views", recorded)
    with reproducible(seed, CPU):
        learner = Learner(make_head(store, recipe), store, recipe, store.split("train"), seed=seed)
        for _ in range(2):
            epochs.append({})
            learner.epoch()
    return [tuple(views[clip] for clip in sorted(views)) for views in epochs]


def test_draws_follow_the_seed_and_change_with_the_epoch(
    views: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = drawn_by(views, linear(), 0, monkeypatch)
    assert first != second
    assert set(first) == set(second) == {0, 1, 2}
    assert drawn_by(views, linear(), 0, monkeypatch) == [first, second]
    assert drawn_by(views, linear(), 1, monkeypatch) != [first, second]


def moments(training: Training, features: slice) -> tuple[np.ndarray, np.ndarray]:
    """The mean and std that some features are standardised with."""
    std = training.std[features]
    return training.mean[features], np.where(std > 0, std, 1)


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_scores_are_of_the_mean_probability(
    stores: list[Store], views: Store, tmp_path: Path, kind: str
) -> None:
    recipe = load_recipe(kind, ["train.epochs=2", "data.standardise=train", "data.steps=null"])
    run = train(views, recipe, out=tmp_path / "run", log=silent)
    metrics = read_metrics(run)
    assert metrics["fusion"] == "views"
    report = (run / "report.md").read_text("utf-8")
    assert report.count("Features of 3 stores, augmented views: one is drawn") == 1
    head, clips = load_head(run, recipe, stores[0]), views.split("test")
    training, each = read_training(run), []
    for number, store in enumerate(stores):
        mean, std = moments(training, slice(6 * number, 6 * number + 6))
        with torch.inference_mode():
            logits = [
                head.eval()(
                    torch.from_numpy((store[clip] - mean) / std).float()[None],
                    torch.ones(1, len(store[clip]), dtype=torch.bool),
                ).logits
                for clip in clips
            ]
        each.append(torch.cat(logits).softmax(1).numpy())
    assert np.abs(each[0] - each[1]).max() > 1e-5
    expected = np.log(np.mean(each, axis=0))
    written = load_file(run / "predictions.safetensors")["test"].numpy()
    np.testing.assert_allclose(written, expected, atol=1e-4)
    again = rescore(run, own_store(run), "test")
    np.testing.assert_allclose(again.log_probabilities, expected, atol=1e-4)
    if again.attention is not None:
        assert all(abs(weights.sum() - 1) < 1e-5 for weights in again.attention)


def test_one_view_is_predicted_as_it_is(stores: list[Store]) -> None:
    feed, head = Feed(stores[0], CPU), make_head(stores[0], linear()).eval()
    clips = stores[0].split("val")
    (batch,) = feed.batches(clips, CLIPS)
    expected = head(batch.features, batch.mask).logits.double().log_softmax(1).detach().numpy()
    assert (predict(head, feed, clips, batch_size=CLIPS).log_probabilities == expected).all()
    assert mean_probabilities([batch.features]) is batch.features


def test_an_interrupted_training_draws_on(views: Store, tmp_path: Path) -> None:
    whole = train(views, linear(), out=tmp_path / "whole", log=silent)
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        if "epoch   2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(views, linear(), out=tmp_path / "cut", log=stop)
    resumed = train(views, linear(), out=tmp_path / "cut", log=silent)
    one, other = (load_file(run / "weights.safetensors") for run in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_stores_without_views_draw_nothing(stores: list[Store], tmp_path: Path) -> None:
    alone = train(stores[0], linear(), out=tmp_path / "alone", log=silent)
    other = train(stores[0], linear("data.fusion=views"), out=tmp_path / "other", log=silent)
    one, two = (load_file(run / "weights.safetensors") for run in (alone, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert "fusion" not in read_metrics(alone)


def test_the_recipe_may_join_views_in_another_way(stores: list[Store], views: Store) -> None:
    assert fusion_of(views, linear()) == "views"
    assert fusion_of(views, linear("data.fusion=concat")) == "concat"
    assert fusion_of(featstore.fuse(stores[1:]), linear()) == "concat"
    shuffled = featstore.fuse([stores[1], stores[0]])
    assert fusion_of(shuffled, linear()) == "concat"
    assert sum(t.numel() for t in make_head(views, linear()).parameters()) < sum(
        t.numel() for t in make_head(views, linear("data.fusion=concat")).parameters()
    )
    with pytest.raises(InputError, match=r"data\.fusion is views, but .* in this order"):
        train(shuffled, linear("data.fusion=views"), out=Path("none"), log=silent)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a plain store and two views, with other stores beside them."""
    folder = tmp_path_factory.mktemp("built")
    data = write_dataset(folder / "data")
    other = write_dataset(folder / "other")
    other.write_text(other.read_text("utf-8").replace(",b,", ",a,", 1), "utf-8")
    for more in ({}, {"view_number": 1}, {"view_number": 2}):
        build_store(options_of(data, folder / "stores", **more))
        build_store(options_of(other, folder / "stores", **more))
    return folder / "stores"


def plain_store(folder: Path) -> Path:
    return next(path for path in folder.glob("data-*.zarr") if "-view-" not in path.name)


def test_views_are_looked_up_by_their_keys(built: Path, tmp_path: Path) -> None:
    plain = plain_store(built)
    paths = view_paths(plain, 3)
    assert paths[0] == plain
    assert ["data-clips-view-1" in str(paths[1]), "data-clips-view-2" in str(paths[2])] == [
        True
    ] * 2
    assert view_paths(plain, 1) == [plain]
    with pytest.raises(InputError, match="--views is 0; it must be 1 or more"):
        view_paths(plain, 0)
    with pytest.raises(InputError, match="is an augmented view; name the plain store"):
        view_paths(paths[1], 2)
    with pytest.raises(InputError, match="in a bucket"):
        view_paths("s3://stores/x.zarr", 2)
    copies = shutil.copytree(built, tmp_path / "stores")
    shutil.rmtree(copies / Path(paths[2]).name)
    with pytest.raises(StoreNotFoundError, match=r"View 2 of .* build it with --views 3"):
        view_paths(plain_store(copies), 3)
    data = built.parent / "data" / "clips.csv"
    build_store(options_of(data, copies, view_number=1, view_flip=True))
    with pytest.raises(InputError, match="built with and without --view-flip"):
        view_paths(plain_store(copies), 2)


def test_the_commands_train_sweep_and_evaluate(built: Path, tmp_path: Path) -> None:
    where = ["--stores", str(built), "--store", plain_store(built).name[:20]]
    how = ["--recipe", "linear", "--set", "train.epochs=1", "--device", "cpu"]
    out = ["--out", str(tmp_path / "run")]
    done = CliRunner().invoke(main, ["train", *where, "--views", "3", *how, *out])
    assert done.exit_code == 0, done.output
    assert "512 features a step, 3 views of every clip" in done.output
    assert len(read_config(tmp_path / "run")["store"]["path"]) == 3
    scored = CliRunner().invoke(main, ["evaluate", str(tmp_path / "run")])
    assert scored.exit_code == 0, scored.output
    one = CliRunner().invoke(main, ["evaluate", str(tmp_path / "run"), *where])
    assert "trained on 3 stores but got 1" in one.output
    twice = CliRunner().invoke(main, ["train", *where, *where[2:], "--views", "2", *how])
    assert "--store is given 2 times, and --views 2" in twice.output


def test_recordings_are_predicted_from_the_plain_picture(built: Path, tmp_path: Path) -> None:
    video = built.parent / "data" / "test.avi"
    paths = view_paths(plain_store(built), 3)
    recipe = load_recipe("linear", ["train.epochs=1", "data.standardise=train", "data.steps=null"])
    whole = featstore.fuse([featstore.open(path) for path in paths])
    run = train(whole, recipe, out=tmp_path / "run", log=silent)
    predictions = featstore.predict(
        run, built.parent / "data" / "clips.csv", out=tmp_path / "out", intervals=True,
        pictures=False, log=silent,
    )  # fmt: skip
    plain, training = featstore.open(paths[0]), read_training(run)
    (clip,) = plain.split("test").tolist()
    head = load_head(run, recipe, plain).eval()
    mean, std = moments(training, slice(512))
    features = (plain[clip] - mean) / std
    with torch.inference_mode():
        logits = head(
            torch.from_numpy(features).float()[None], torch.ones(1, len(features), dtype=torch.bool)
        ).logits
    (row,) = [row for row in predictions.windows() if row["recording"] == video.name]
    expected = logits.softmax(1)[0].numpy()
    np.testing.assert_allclose([row[f"p:{name}"] for name in plain.classes], expected, atol=1e-5)

    alone = train(featstore.open(paths[1]), recipe, out=tmp_path / "alone", log=silent)
    with pytest.raises(InputError, match=r"trained on an augmented view, .* plain picture"):
        featstore.predict(alone, video, out=tmp_path / "none", log=silent)
