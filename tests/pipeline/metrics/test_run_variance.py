"""The chance in training, and in few people, in what a comparison says."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pipeline.report.comparison import comparison
from pipeline.runs.compare import compare, difference, read_group
from pipeline.runs.groups import Group
from tests.runs import CLASSES, rights, write_run


def group_of(right: np.ndarray, seen: np.ndarray | None = None, *, subjects: int = 9) -> Group:
    """Runs in columns, over clips of three classes."""
    n, runs = right.shape
    return Group(
        name="runs",
        runs=runs,
        stores=frozenset({"f00d"}),
        clips=tuple((f"clip{i:04d}", CLASSES[i % 3]) for i in range(n)),
        owners=tuple(f"vp{i * subjects // n}" for i in range(n)),
        subjects_known=True,
        seen=np.ones_like(right) if seen is None else seen,
        right=right if seen is None else right & seen,
    )


def trained(rng: np.random.Generator, runs: int, spread: float) -> Group:
    """Runs of one recipe, which differ by chance; some clips are easy, others are not."""
    logit = np.random.default_rng(0).normal(0.8, 1, 1800)[:, None] + 5 * rng.normal(0, spread, runs)
    return group_of(rng.random((1800, runs)) < 1 / (1 + np.exp(-logit)))


def test_chance_in_training_is_rarely_taken_for_a_difference() -> None:
    rng = np.random.default_rng(0)
    found = [difference(*(trained(rng, 3, 0.02) for _ in range(2))) for _ in range(40)]
    for score in ("top1", "mean_class_accuracy"):
        assert [own.holds(score) for own in found].count("no") >= 36
    assert sum(any(row["p"] < 0.05 for row in own.classes) for own in found) <= 4


def test_a_difference_beyond_the_chance_in_training_holds() -> None:
    rng = np.random.default_rng(0)
    ours = trained(rng, 3, 0.01)
    better = group_of(ours.right | (rng.random(ours.right.shape) < 0.3))
    assert difference(ours, better).holds("top1") == "yes"
    same = difference(ours, ours)
    assert same.holds("top1") == same.holds("mean_class_accuracy") == "no"


def test_intervals_equal_a_plain_bootstrap_over_clips_and_runs_of_each_split() -> None:
    """Two splits that share clips, of two and three runs; against a single run of all clips."""
    rng = np.random.default_rng(3)
    seen = np.zeros((90, 5), bool)
    seen[:60, :2], seen[30:, 2:] = True, True
    right = (rng.random((90, 5)) < np.array([0.3, 0.8, 0.4, 0.6, 0.8])) & seen
    alone = rng.random((90, 1)) < 0.5
    found = difference(group_of(alone), group_of(right, seen), seed=1, resamples=20_000)
    labels, plain = np.arange(90) % 3, []
    for _ in range(8000):
        clips = rng.integers(0, 90, 90)
        drawn = np.concatenate([rng.integers(0, 2, 2), 2 + rng.integers(0, 3, 3)])
        # What a drawn run is off by is scaled so that its variance is that of the runs (n - 1).
        scale = np.sqrt(np.array([2, 2, 3 / 2, 3 / 2, 3 / 2]))
        votes = 1 + scale * (np.bincount(drawn, minlength=5) - 1)
        gain = (right * votes).sum(axis=1) / seen.sum(axis=1) - alone[:, 0]
        classes = [gain[clips][labels[clips] == own].mean() for own in range(3)]
        plain.append((gain[clips].mean(), np.mean(classes)))
    for name, values in zip(("top1", "mean_class_accuracy"), np.transpose(plain), strict=True):
        expected = np.quantile(values, [0.025, 0.975])
        assert found.scores[name]["clips"] == pytest.approx(expected.tolist(), abs=0.012)
    fixed = difference(group_of(alone), group_of(found.other.correct[:, None] > 0.5))
    assert np.ptp(fixed.scores["top1"]["clips"]) < np.ptp(found.scores["top1"]["clips"])


def test_interval_over_subjects_is_widened() -> None:
    """A plain cluster bootstrap of single runs, with Student's t in place of the normal."""
    rng = np.random.default_rng(5)
    runs = [rng.random((600, 1)) < share for share in (0.5, 0.6)]
    found = difference(*(group_of(run, subjects=5) for run in runs)).scores["top1"]
    by_subject = (runs[1].astype(float) - runs[0]).reshape(5, 120).mean(axis=1)
    plain = by_subject[rng.integers(0, 5, (20_000, 5))].mean(axis=1)
    factor = stats.t(4).ppf(0.975) / stats.norm.ppf(0.975) * np.sqrt(5 / 4)
    bounds = np.quantile(plain, [0.025, 0.975])
    expected = by_subject.mean() + factor * (bounds - by_subject.mean())
    assert found["subjects"] == pytest.approx(expected.tolist(), abs=0.01)


def test_single_runs_of_a_split_are_named(tmp_path: Path) -> None:
    for i in range(2):
        write_run(tmp_path / "two" / f"seed{i}", rights(share=0.6, seed=i))
        write_run(tmp_path / "more" / f"seed{i}", rights(share=0.6, seed=3 + i))
        write_run(tmp_path / "splits" / f"split{i}", rights(300, share=0.6, seed=i), first=300 * i)
    one = write_run(tmp_path / "one", rights(share=0.6, seed=2))
    names = [str(tmp_path / "two"), str(one), str(tmp_path / "splits")]
    groups = [read_group(name, "test") for name in names]
    assert [group.fewest for group in groups] == [2, 1, 1]
    text = comparison(compare(groups), "test")
    assert f"A single run per split, as in {names[1]}, {names[2]}, cannot show" in text
    assert "Resamples also draw the runs of a split" in text
    both = compare([groups[0], read_group(str(tmp_path / "more"), "test")])
    assert "single run" not in comparison(both, "test")
    assert "Resamples draw" not in comparison(compare(groups[1:]), "test")
