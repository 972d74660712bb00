"""What needs no training, against plain numpy."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from models.heads.nearest import NearestHead
from pipeline.metrics.classification import MAIN_SCORES, SCORES, score_name
from pipeline.report.baselines import baseline_lines, baseline_log, no_better
from pipeline.runs.files import read_metrics
from pipeline.train import baselines as module
from pipeline.train.baselines import baselines, classify
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.fakes import PARTS, FakeStore, ordered_store
from tests.featstore.test_docs import run as run_page
from tests.folders import DOCS
from tests.stores import contents, write_store

CLASSES = ("a", "b", "c", "never")


def blurred_store(n: int = 120, *, dim: int = 5, spread: float = 1.0, seed: int = 1) -> FakeStore:
    """Three classes around points of their own, far from the origin; two of the clips failed."""
    rng = np.random.default_rng(seed)
    points = 4 + rng.normal(size=(3, dim)) * [1, 1, 1, 5, 0.1]
    labels = rng.choice(3, size=n, p=[0.6, 0.3, 0.1])
    clips = [
        points[label] + spread * rng.normal(size=(int(rng.integers(1, 7)), dim)) for label in labels
    ]
    splits = [PARTS[0] if i < n // 2 else PARTS[1 + i % 2] for i in range(n)]
    subjects = [f"{part}{i % 2}" for i, part in enumerate(splits)]
    status = [int(i in (3, n - 1)) for i in range(n)]
    return FakeStore(
        clips, labels.tolist(), splits, classes=CLASSES, subjects=subjects, status=status
    )


def clip_means(store: FakeStore, how: str, steps: int | None) -> np.ndarray:
    """Standardise, resample and average every clip, one by one."""
    rows = {i: store[i].astype(np.float64) for i in range(len(store)) if store.status[i] == 0}
    if how != "none":
        groups: dict[str, list[np.ndarray]] = {}
        for i, own in rows.items():
            if how == "subject" or store.splits[i] == "train":
                groups.setdefault(store.subjects[i] if how == "subject" else "", []).append(own)
        joined = {name: np.concatenate(own) for name, own in groups.items()}
        for i, own in rows.items():
            seen = joined[store.subjects[i] if how == "subject" else ""]
            rows[i] = (own - seen.mean(axis=0)) / seen.std(axis=0)
    means = np.zeros((len(store), store.dim))
    for i, own in rows.items():
        if steps is not None:
            own = own[[int((k + 0.5) * len(own) / steps) for k in range(steps)]]
        means[i] = own.mean(axis=0)
    return means


def scored(store: FakeStore, clips: np.ndarray, guesses: list[int]) -> dict[str, float]:
    labels = store.labels[clips]
    right = np.array(guesses) == labels
    recalls = [right[labels == one].mean() for one in np.unique(labels)]
    return {"top1": float(right.mean()), "mean_class_accuracy": float(np.mean(recalls))}


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("how", ["none", "train", "subject"])
def test_both_equal_a_reference(how: str, steps: int | None) -> None:
    store = blurred_store()
    recipe = load_recipe("linear", [f"data.standardise={how}", f"data.steps={steps or 'null'}"])
    found = baselines(store, recipe, device="cpu")
    means = clip_means(store, how, steps)
    train_clips = store.split("train")
    means -= means[train_clips].mean(axis=0)
    units = means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-30)
    labels = store.labels[train_clips]
    centres = {one: units[train_clips[labels == one]].mean(axis=0) for one in np.unique(labels)}

    def by_mean(clip: int) -> int:
        return min(centres, key=lambda one: np.linalg.norm(units[clip] - centres[one]))

    def by_votes(clip: int, k: int) -> int:
        order = np.argsort([1 - units[clip] @ units[i] for i in train_clips], kind="stable")
        votes = Counter(labels[order[:k]].tolist())
        return min(votes, key=lambda one: (-votes[one], one))

    val = store.split("val")
    best = max(
        module.NEIGHBOURS,
        key=lambda k: scored(store, val, [by_votes(i, k) for i in val])["mean_class_accuracy"],
    )
    assert found["nearest_neighbours"]["k"] == best
    for part in ("val", "test"):
        clips = store.split(part)
        expected = {
            "nearest_class_mean": scored(store, clips, [by_mean(i) for i in clips]),
            "nearest_neighbours": scored(store, clips, [by_votes(i, best) for i in clips]),
        }
        for name, scores in expected.items():
            own = found[name][part]
            assert own.keys() == set(SCORES)
            assert {key: own[key] for key in scores} == pytest.approx(scores)


@pytest.mark.parametrize("k", [1, 4, 20])
def test_votes_and_means_are_those_of_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    known, queries = (rng.normal(size=(n, 6)).astype(np.float32) for n in (80, 50))
    labels = rng.integers(0, 5, 80)

    def ours(neighbours: int | None) -> np.ndarray:
        head = NearestHead(6, 5, neighbours=neighbours)
        head.remember(torch.from_numpy(known), torch.from_numpy(labels))
        return classify(head, torch.from_numpy(queries))

    units = [rows - known.mean(axis=0) for rows in (known, queries)]
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in units]
    theirs = KNeighborsClassifier(k, metric="cosine").fit(units[0], labels)
    np.testing.assert_array_equal(ours(k), theirs.predict(units[1]))
    centroid = NearestCentroid().fit(units[0], labels)
    np.testing.assert_array_equal(ours(None), centroid.predict(units[1]))


def test_as_many_neighbours_as_do_best_on_val() -> None:
    store = blurred_store(spread=3.0)
    # Every tenth training clip is mislabelled, which more neighbours outvote.
    wrong = store.split("train")[::4]
    store.labels[wrong] = (store.labels[wrong] + 1) % 3
    assert baselines(store, load_recipe("linear"), device="cpu")["nearest_neighbours"]["k"] > 1


def test_clips_that_are_standardised_by_themselves_are_taken_as_they_are() -> None:
    store = blurred_store(spread=3.0)
    plain, own = (
        baselines(store, load_recipe("linear", [f"data.standardise={how}"]), device="cpu")
        for how in ("none", "clip")
    )
    assert own == plain


@pytest.mark.parametrize("classes", [1, 2])
def test_few_training_clips(classes: int) -> None:
    clips = [np.full((2, 3), value, np.float32) for value in (1.0, 5.0, 1.5, 4.0)]
    labels = [0, classes - 1, 0, classes - 1]
    store = FakeStore(clips, labels, ["train", "train", "val", "test"])
    found = baselines(store, load_recipe("linear"), device="cpu")
    assert found["nearest_neighbours"]["k"] == 1
    assert found["nearest_class_mean"]["test"]["top1"] == 1.0


def test_no_test_clips() -> None:
    store = blurred_store()
    store.splits[store.splits == "test"] = "val"
    store.subjects[:] = [f"{part}0" for part in store.splits]
    found = baselines(store, load_recipe("linear"), device="cpu")
    assert np.isnan(found["nearest_class_mean"]["test"]["top1"])
    assert baseline_log(found)[0].startswith("without training, on val: nearest class mean top1")


def test_reasons_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("linear", ["data.steps=null"])
    store = blurred_store()
    store.rows.array[store.offsets[store.split("test")[0]]] = np.nan
    found = baselines(store, recipe, device="cpu")
    assert found == {
        "skipped": "Training-free baselines were not computed: some features are not finite."
    }
    monkeypatch.setattr(module, "MOST_CLIPS", 100)
    (sentence,) = baseline_log(baselines(blurred_store(), recipe, device="cpu"))
    assert "there are 118 clips, more than the limit of 100" in sentence
    assert baseline_lines({"baselines": {"skipped": sentence}}) == ["", sentence]


@pytest.mark.parametrize("how", ["none", "train"])
def test_every_run_shows_them(tmp_path: Path, how: str) -> None:
    # Only the order of steps tells the classes apart, which a mean cannot see.
    store, lines = ordered_store(), list[str]()
    options = ["head.hidden=8", "train.epochs=8", "train.lr=1e-2", f"data.standardise={how}"]
    recipe = load_recipe("bilstm", options)
    run = train(store, recipe, out=tmp_path / "one", seed=3, device="cpu", log=lines.append)
    metrics = read_metrics(run)
    assert metrics["baselines"] == baselines(store, recipe, device="cpu")
    means = metrics["baselines"]["nearest_class_mean"]["test"]
    assert lines[-2].startswith(
        f"without training, on test: nearest class mean top1 {means['top1']:.3f}, mean class "
        f"accuracy {means['mean_class_accuracy']:.3f}; "
    )
    assert metrics["test"]["mean_class_accuracy"] > 0.9 > means["mean_class_accuracy"]
    report = (run / "report.md").read_text("utf-8")
    row = [
        f"{100 * metrics['baselines']['nearest_class_mean'][part][key]:.1f} %"
        for part in ("val", "test")
        for key in MAIN_SCORES
    ]
    assert f"| nearest class mean | {' | '.join(row)} |" in report
    assert "| trained head |" in report
    assert "no better" not in report


def test_a_head_that_is_no_better_is_named() -> None:
    def scores(value: float) -> dict[str, Any]:
        return {"top1": value, "mean_class_accuracy": value, "clips": 3}

    near = {"k": 5, "val": scores(0.5), "test": scores(0.75)}
    found = {"nearest_class_mean": {"val": scores(0.5), "test": scores(0.5)}}
    metrics = {"baselines": {**found, "nearest_neighbours": near}, "val": scores(0.6)}
    plain = metrics["baselines"]
    assert no_better(scores(0.76), plain, "test") == []
    assert no_better(scores(0.75), plain, "test") == [
        "The trained head does not beat the training-free baselines: its top-1 on test is 75.0 %, "
        "and 75.0 % with the 5 nearest neighbours; its mean class accuracy on test is 75.0 %, and "
        "75.0 % with the 5 nearest neighbours."
    ]
    assert no_better(scores(0.6), plain, "val") == []
    lines = baseline_lines({**metrics, "test": scores(0.1)})
    assert lines[-1] == "| 5 nearest neighbours | 50.0 % | 50.0 % | 75.0 % | 75.0 % |"
    for older in ({}, {"baselines": {}}):
        assert baseline_lines(older) == no_better(scores(0.1), {}, "test") == []


@pytest.mark.parametrize("worse", ["top1", "mean_class_accuracy"])
def test_every_headline_score_is_looked_at(worse: str) -> None:
    """A head that guesses rare classes may win by class while most of its clips are wrong."""
    plain = {part: {"top1": 0.578, "mean_class_accuracy": 0.578} for part in ("val", "test")}
    baselines = {"nearest_class_mean": plain, "nearest_neighbours": {"k": 1, **plain}}
    ours = {"top1": 0.6, "mean_class_accuracy": 0.6, worse: 0.13}
    (line,) = no_better(ours, baselines, "test")
    assert f"{score_name(worse)} on test is 13.0 %, and 57.8 %" in line
    assert "60.0 %" not in line


def test_examples_in_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = {"imported": "csv", "dtype": "float32"}
    made = contents([4, 6, 5] * 10, title="cabin", features=imported)
    (tmp_path / "features").mkdir()
    write_store(tmp_path / "features" / "cabin-abababababab.zarr", made)
    monkeypatch.chdir(tmp_path)
    page = DOCS / "training.md"
    results = run_page(page)
    assert results.failed == 0, capsys.readouterr().out
    assert results.attempted > 5
