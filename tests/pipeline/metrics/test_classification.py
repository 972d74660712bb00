from typing import get_args

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    precision_recall_fscore_support,
)
from sklearn.metrics import (
    confusion_matrix as reference_confusion,
)

from pipeline.metrics.classification import (
    MAIN_SCORES,
    MOST_DENSE,
    SCORES,
    cells_of,
    metrics_of,
    metrics_of_predictions,
    most_confused,
)
from pipeline.runs.record import AllScores, MainScores
from pipeline.train.recipes.fields import Train


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels that leave out classes, predictions that name unsupported and skip supported ones."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(3, 12))
    present = rng.choice(classes, size=int(rng.integers(1, classes)), replace=False)
    labels = rng.choice(present, size=int(rng.integers(1, 60)))
    named = rng.choice(classes, size=int(rng.integers(1, classes + 1)), replace=False)
    guesses = rng.choice(named, size=len(labels))
    return labels, np.where(rng.random(len(labels)) < 0.4, labels, guesses), classes


@pytest.mark.parametrize("seed", range(40))
def test_scores_equal_scikit_learn_over_classes_with_support(seed: int) -> None:
    labels, predictions, classes = draw(seed)
    got = metrics_of_predictions(labels, predictions, classes)
    present = np.unique(labels)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=present, zero_division=0
    )
    options = {"labels": present, "zero_division": 0}
    np.testing.assert_array_equal(
        got.confusion, reference_confusion(labels, predictions, labels=range(classes))
    )
    np.testing.assert_allclose(got.precision[present], precision)
    np.testing.assert_allclose(got.recall[present], recall)
    np.testing.assert_allclose(got.f1[present], f1)
    np.testing.assert_array_equal(got.support[present], support)
    assert got.top1 == pytest.approx((labels == predictions).mean())
    assert got.mean_class_accuracy == pytest.approx(recall.mean())
    for average in ("macro", "weighted"):
        expected = f1_score(labels, predictions, average=average, **options)
        assert got.scores[f"{average}_f1"] == pytest.approx(expected)
    assert got.classes_with_support == len(present)
    absent = np.setdiff1d(np.arange(classes), present)
    for scores in (got.precision, got.recall, got.f1):
        assert np.isnan(scores[absent]).all()


def test_mean_class_accuracy_is_balanced_accuracy() -> None:
    labels, predictions = np.array([0, 0, 0, 1, 1, 3]), np.array([0, 0, 1, 1, 3, 3])
    got = metrics_of_predictions(labels, predictions, 5)
    assert got.mean_class_accuracy == pytest.approx(balanced_accuracy_score(labels, predictions))


def test_class_that_is_only_predicted_does_not_count_as_zero() -> None:
    """The other readings: absent classes as 0 (1/3), or as 0 once they are predicted (5/9)."""
    labels, predictions = np.array([0, 0, 0, 1]), np.array([0, 0, 4, 1])
    got = metrics_of_predictions(labels, predictions, 5)
    assert got.mean_class_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert got.scores["macro_f1"] == pytest.approx((0.8 + 1) / 2)
    assert got.predicted[4] == 1


def test_class_never_predicted_has_precision_zero() -> None:
    got = metrics_of(np.array([[2, 0], [3, 0]]))
    assert got.precision.tolist() == [0.4, 0.0]
    assert got.predicted.tolist() == [5, 0]


def test_empty_part_scores_nan() -> None:
    got = metrics_of(np.zeros((3, 3), dtype=np.int64))
    assert (got.clips, got.classes_with_support) == (0, 0)
    assert np.isnan(list(got.scores.values())).all()


def test_most_confused_ranks_by_clips_then_share() -> None:
    confusion = np.array([[9, 2, 0], [2, 1, 0], [3, 0, 0]])
    assert most_confused(cells_of(confusion.tolist()), 3) == [(2, 0, 3), (1, 0, 2), (0, 1, 2)]


def test_per_class_rows_are_plain() -> None:
    rows = metrics_of(np.array([[1, 0], [0, 0]])).as_dict(("a", "b"))["per_class"]
    assert rows[0] == {
        "class": "a",
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "support": 1,
        "predicted": 1,
    }
    assert type(rows[1]["support"]) is int


def test_confusion_of_many_classes_is_written_sparse() -> None:
    """Ten thousand classes have a hundred million cells, and most of them are 0."""
    rng, classes = np.random.default_rng(0), 10_000
    labels, guesses = rng.integers(0, classes, (2, 500))
    got = metrics_of_predictions(labels, guesses, classes)
    written = got.as_dict(tuple(map(str, range(classes))))["confusion"]
    assert len(written["cells"]) <= 500
    np.testing.assert_array_equal(cells_of(written), got.cells)
    shown = np.unique(labels)[:7]
    expected = reference_confusion(labels, guesses, labels=shown)
    np.testing.assert_array_equal(got.among(shown), expected)


@pytest.mark.parametrize("classes", [MOST_DENSE, MOST_DENSE + 1])
def test_both_forms_of_a_confusion_matrix_read_alike(classes: int) -> None:
    labels, guesses = np.random.default_rng(0).integers(0, classes, (2, 300))
    got = metrics_of_predictions(labels, guesses, classes)
    written = got.as_dict(tuple(map(str, range(classes))))["confusion"]
    assert isinstance(written, dict) == (classes > MOST_DENSE)
    np.testing.assert_array_equal(cells_of(written), cells_of(got.confusion.tolist()))


def test_every_score_is_checked_in_files_and_may_be_monitored() -> None:
    assert list(AllScores.model_fields) == list(SCORES)
    assert list(MainScores.model_fields) == list(MAIN_SCORES)
    monitored = get_args(Train.model_fields["monitor"].annotation)
    assert set(monitored) == {*SCORES, "loss"}
