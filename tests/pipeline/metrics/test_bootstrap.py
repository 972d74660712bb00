import numpy as np
import pytest
from scipy import stats

from pipeline.metrics import bootstrap as bootstrap_module
from pipeline.metrics.bootstrap import (
    clip_units,
    intervals,
    percentiles,
    point,
    resampled,
    subject_units,
)
from pipeline.metrics.classification import metrics_of_predictions


def clips(n: int = 300, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and what they were taken for; every class of another accuracy."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=[0.5, 0.3, 0.15, 0.05])
    right = rng.random(n) < 0.4 + 0.15 * labels
    return labels, np.where(right, labels, (labels + 1) % classes)


def test_point_is_what_the_metrics_say() -> None:
    labels, guesses = clips()
    correct = (labels == guesses).astype(float)[:, None]
    metrics = metrics_of_predictions(labels, guesses, 5)  # a fifth class has no clips
    subjects = np.arange(len(labels)) % 7
    for units in (clip_units(labels, correct, 5), subject_units(labels, correct, subjects, 5)):
        scores = point(units)
        assert scores["top1"][0] == pytest.approx(metrics.top1)
        assert scores["mean_class_accuracy"][0] == pytest.approx(metrics.mean_class_accuracy)


def test_top1_over_clips_equals_scipys_bootstrap() -> None:
    labels, guesses = clips()
    ours = intervals(labels, labels == guesses, None, classes=4, resamples=20_000)
    assert ours is not None
    theirs = stats.bootstrap(
        ((labels == guesses).astype(float),),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours["top1"]["clips"] == pytest.approx([theirs.low, theirs.high], abs=0.004)
    assert ours["top1"]["subjects"] is None


def test_resamples_are_those_of_drawing_clips_one_by_one() -> None:
    labels, guesses = clips(120)
    correct = labels == guesses
    ours = resampled(clip_units(labels, correct[:, None], 4), resamples=4000)
    rng = np.random.default_rng(2)
    plain = []
    for _ in range(4000):
        drawn = rng.integers(0, len(labels), len(labels))
        own, right = labels[drawn], correct[drawn]
        plain.append(np.mean([right[own == c].mean() for c in np.unique(own)]))
    means = ours["mean_class_accuracy"][:, 0]
    assert stats.ks_2samp(means, plain).pvalue > 0.01
    assert means.std() == pytest.approx(np.std(plain), rel=0.06)


def test_subjects_are_drawn_whole() -> None:
    subjects = np.repeat(np.arange(12), 10)
    labels = np.zeros(120, np.int64)
    correct = subjects % 2 == 0  # everything about a person is right, or nothing
    found = intervals(labels, correct, subjects, classes=1, resamples=20_000)
    assert found is not None
    assert found["subjects"] == 12
    drawn = stats.binom(12, 0.5).ppf([0.025, 0.975]) / 12
    factor = stats.t(11).ppf(0.975) / stats.norm.ppf(0.975) * np.sqrt(12 / 11)
    assert found["top1"]["subjects"] == pytest.approx((0.5 + factor * (drawn - 0.5)).tolist())
    analytic = stats.norm(0.5, np.sqrt(0.25 / 120)).ppf([0.025, 0.975])
    assert found["top1"]["clips"] == pytest.approx(analytic.tolist(), abs=0.01)


def test_uneven_subjects_equal_a_plain_cluster_bootstrap() -> None:
    rng = np.random.default_rng(3)
    labels, guesses = clips(200)
    subjects = rng.choice(8, 200, p=np.arange(1, 9) / 36)
    units = subject_units(labels, (labels == guesses)[:, None].astype(float), subjects, 4)
    ours = resampled(units, resamples=4000)["top1"][:, 0]
    plain = []
    for _ in range(4000):
        drawn = np.concatenate(
            [np.flatnonzero(subjects == s) for s in rng.choice(np.unique(subjects), 8)]
        )
        plain.append((labels == guesses)[drawn].mean())
    np.testing.assert_allclose(percentiles(ours), percentiles(np.array(plain)), atol=0.01)


def test_classes_missing_from_a_resample_are_left_out_of_its_mean() -> None:
    labels = np.array([0] * 30 + [1])
    draws = resampled(clip_units(labels, np.ones((31, 1)), 2))
    np.testing.assert_array_equal(draws["mean_class_accuracy"], 1)


def test_paired_columns_share_their_draws() -> None:
    labels, guesses = clips()
    right = (labels == guesses).astype(float)
    draws = resampled(clip_units(labels, np.column_stack([right, right]), 4))
    np.testing.assert_array_equal(draws["top1"][:, 0], draws["top1"][:, 1])


def test_blocks_of_resamples_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, guesses = clips()
    units = clip_units(labels, (labels == guesses)[:, None].astype(float), 4)
    whole = resampled(units, seed=5)["top1"]
    monkeypatch.setattr(bootstrap_module, "_CELLS", 100)
    np.testing.assert_array_equal(resampled(units, seed=5)["top1"], whole)
    assert not np.array_equal(resampled(units, seed=6)["top1"], whole)


@pytest.mark.parametrize("people", [5, 9, 15])
def test_intervals_over_few_subjects_hold_the_score_of_all(people: int) -> None:
    """People differ, and 95 % of the intervals should hold what all people have on average."""
    rng = np.random.default_rng(people)
    labels = np.zeros(40 * people, np.int64)
    held = []
    for _ in range(400):
        right = np.repeat(rng.beta(9, 6, people), 40)  # 0.6 on average
        correct = rng.random(len(right)) < right
        subjects = np.repeat(np.arange(people), 40)
        found = intervals(labels, correct, subjects, classes=1, resamples=1000)
        assert found is not None
        low, high = found["top1"]["subjects"]
        held.append(low <= 0.6 <= high)
    assert np.mean(held) > 0.92


def test_widened_intervals_stay_scores() -> None:
    subjects = np.repeat(np.arange(3), 10)
    right = np.concatenate([np.ones(20), np.zeros(10)])
    found = intervals(np.zeros(30, np.int64), right, subjects, classes=1)
    assert found is not None
    assert found["top1"]["subjects"] == found["mean_class_accuracy"]["subjects"] == [0, 1]


def test_nothing_to_draw() -> None:
    none = np.zeros(0, np.int64)
    assert intervals(none, none, none, classes=3) is None
    one = intervals(np.array([0, 1]), np.array([1, 0]), np.array(["ann", "ann"]), classes=2)
    assert one is not None
    assert one["top1"]["subjects"] is None
    assert one["subjects"] == 1
