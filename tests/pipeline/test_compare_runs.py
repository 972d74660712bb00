from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from featstore.errors import InputError
from pipeline.cli.compare import compare as command
from pipeline.compare_runs import Difference, compare, difference, read_group
from pipeline.comparison import comparison, sentence
from pipeline.groups import Group
from pipeline.run import METRICS, write_csv, write_json
from pipeline.significance import holm, sign_test

CLASSES = ("sit", "eat", "drink")


def write_run(
    folder: Path,
    right: np.ndarray,
    *,
    subjects: int = 10,
    store: str = "f00d",
    first: int = 0,
    known: bool = True,
    said: dict[str, Any] | None = None,
    **columns: Any,
) -> Path:
    """A run over clips whose class and subject follow from their number."""
    folder.mkdir(parents=True)
    metrics = dict.fromkeys(METRICS) | {"store_key": store * 16, "subjects_known": known}
    metrics |= {"failed_clips": dict.fromkeys(("train", "val", "test"), 0)} | (said or {})
    write_json(folder / "metrics.json", metrics)
    rows = []
    for i, hit in enumerate(right.tolist(), start=first):
        label = i % 3
        guess = label if hit else (label + 1) % 3
        rows.append(
            {"clip": f"clip{i:04d}", "part": "test", "label": CLASSES[label]}
            | {"prediction": CLASSES[guess], "probability": 0.5}
            | ({"subject": f"vp{i * subjects // len(right)}"} if subjects else {})
            | columns
        )
    write_csv(folder / "predictions.csv", rows[::-1])  # whatever their order
    return folder


def rights(n: int = 600, *, share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < share


def differ(*runs: Path) -> list[Difference]:
    return compare([read_group(str(run), "test") for run in runs])


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (3, 3), (8, 1), (1, 40), (900, 1000)])
def test_sign_test_is_scipys_binomial_test(better: int, worse: int) -> None:
    if not better + worse:
        assert sign_test(0, 0) == 1
        return
    expected = stats.binomtest(better, better + worse, 0.5).pvalue
    assert sign_test(better, worse) == pytest.approx(expected, rel=1e-9)


def test_holm_keeps_the_order_and_stays_below_one() -> None:
    # Worked by hand: 4 * 0.005, then 3 * 0.01, then 2 * 0.03, and never less than one before.
    assert holm([0.01, 0.03, 0.04, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_a_clear_difference_holds_and_its_counts_are_mcnemars(tmp_path: Path) -> None:
    worse, better = rights(share=0.5, seed=0), rights(share=0.75, seed=1)
    a, b = write_run(tmp_path / "a", worse), write_run(tmp_path / "b", better)
    (found,) = differ(a, b)
    only_b, only_a = int((better & ~worse).sum()), int((worse & ~better).sum())
    assert (found.better, found.worse) == (only_b, only_a)
    assert found.p == pytest.approx(stats.binomtest(only_b, only_a + only_b).pvalue)
    assert found.scores["top1"]["difference"] == pytest.approx(better.mean() - worse.mean())
    assert found.holds("top1") == found.holds("mean_class_accuracy") == "yes"
    assert sentence(found).count("which holds;") == 2
    assert {row["class"] for row in found.classes if row["p"] < 0.05} == set(CLASSES)


def test_paired_interval_is_scipys(tmp_path: Path) -> None:
    a, b = rights(300, share=0.6, seed=2), rights(300, share=0.65, seed=3)
    (found,) = differ(write_run(tmp_path / "a", a), write_run(tmp_path / "b", b))
    theirs = stats.bootstrap(
        ((b.astype(float) - a.astype(float)),), np.mean, method="percentile", rng=0
    ).confidence_interval
    interval = found.scores["top1"]["clips"]
    assert interval == pytest.approx([theirs.low, theirs.high], abs=0.01)
    assert found.holds("top1") == "no"
    assert "no more than chance" in sentence(found)


def test_chance_is_rarely_taken_for_a_difference(tmp_path: Path) -> None:
    verdicts = []
    for seed in range(40):
        pair = [
            write_run(tmp_path / f"{seed}{name}", rights(200, share=0.6, seed=100 + 2 * seed + i))
            for i, name in enumerate("ab")
        ]
        verdicts.append(differ(*pair)[0].holds("top1"))
    assert verdicts.count("no") >= 36


def test_mcnemar_and_holm_decide_where_intervals_leave_out_0(tmp_path: Path) -> None:
    """So few clips differ, all one way, that the bootstrap is too sure of them."""
    a = np.zeros(600, bool)
    runs = [write_run(tmp_path / "a", a)]
    for name, gain in (("five", 5), ("six", 6), ("others", 6)):
        b = a.copy()
        b[np.arange(gain) * 100] = True  # of a subject each
        runs.append(write_run(tmp_path / name, b))
    five, six = (differ(runs[0], run)[0] for run in runs[1:3])
    assert (five.p, six.p) == pytest.approx((0.0625, 0.03125))
    for found in (five, six):
        assert found.scores["top1"]["clips"][0] > 0
        assert found.scores["mean_class_accuracy"]["clips"][0] > 0
    assert five.holds("top1") == "no"
    assert six.holds("top1") != "no"
    corrected = differ(*runs)  # 3 * 0.03125 is too much
    assert [own.holds("top1") for own in corrected] == ["no"] * 3
    assert all(own.scores["top1"]["clips"][0] > 0 for own in corrected)


def test_people_who_disagree_make_it_hold_on_these_clips_only(tmp_path: Path) -> None:
    """All of the gain is one person's: another draw of people need not have one like that."""
    a, b = np.zeros(600, bool), np.zeros(600, bool)
    b[:60] = True
    (found,) = differ(write_run(tmp_path / "a", a), write_run(tmp_path / "b", b))
    assert found.subjects == 10
    assert found.scores["top1"]["clips"][0] > 0
    assert found.scores["top1"]["subjects"][0] <= 0
    assert found.holds("top1") == "here"
    assert "not shown for other people" in sentence(found)


@pytest.mark.parametrize("subjects", [0, 1, 4])
def test_few_or_unknown_subjects_say_nothing_of_other_people(tmp_path: Path, subjects: int) -> None:
    runs = [
        write_run(tmp_path / str(share), rights(share=share, seed=7), subjects=subjects)
        for share in (0.5, 0.7)
    ]
    found = differ(*runs)
    assert found[0].holds("top1") == "here"
    assert "nothing is said of other people" in comparison(found, "test")


def test_classes_are_tested_one_by_one(tmp_path: Path) -> None:
    a = rights(share=0.5, seed=4)
    b = np.where(np.arange(600) % 3 == 1, True, a)  # better at eating alone
    (found,) = differ(write_run(tmp_path / "a", a), write_run(tmp_path / "b", b))
    assert [row["p"] < 0.05 for row in found.classes] == [True, False, False]
    row = found.classes[0]
    assert (row["class"], row["clips"], row["other"]) == ("eat", 200, 1)
    assert f"by class it holds on eat (+{100 * row['difference']:.1f})." in sentence(found)


def test_seeds_stand_together(tmp_path: Path) -> None:
    seeds = [rights(share=0.6, seed=seed) for seed in range(3)]
    for i, right in enumerate(seeds):
        write_run(tmp_path / "recipe" / f"seed{i}", right)
    alone = write_run(tmp_path / "alone", rights(share=0.6, seed=9))
    group = read_group(str(tmp_path / "recipe"), "test")
    assert group.runs == 3
    np.testing.assert_allclose(group.correct, np.mean(seeds, axis=0))
    listed = read_group(",".join(str(tmp_path / "recipe" / f"seed{i}") for i in range(3)), "test")
    np.testing.assert_array_equal(listed.correct, group.correct)
    found = difference(read_group(str(alone), "test"), group)
    expected = np.mean(seeds) - rights(share=0.6, seed=9).mean()
    assert found.scores["top1"]["difference"] == pytest.approx(expected)


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
        write_run(tmp_path / "splits" / f"split{i}", rights(300, share=0.6, seed=i), first=300 * i)
    one = write_run(tmp_path / "one", rights(share=0.6, seed=2))
    names = [str(tmp_path / "two"), str(one), str(tmp_path / "splits")]
    groups = [read_group(name, "test") for name in names]
    assert [group.fewest for group in groups] == [2, 1, 1]
    text = comparison(compare(groups), "test")
    assert f"A single run of a split, as in {names[1]}, {names[2]}, says nothing of the" in text
    assert "Resamples draw the runs of a split too" in text
    both = compare([groups[0], groups[0]])
    assert "single run" not in comparison(both, "test")
    assert "Resamples draw" not in comparison(compare(groups[1:]), "test")


def test_other_clips_or_labels_are_refused_with_how_many(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", rights(30, share=0.5, seed=0))
    shifted = write_run(tmp_path / "b", rights(30, share=0.5, seed=0), first=2)
    with pytest.raises(InputError, match="4 differ in clip or label"):
        differ(a, shifted)
    relabelled = write_run(tmp_path / "c", rights(30, share=0.5, seed=0), label="sit")
    with pytest.raises(InputError, match="40 differ"):
        differ(a, relabelled)


def test_several_runs_against_the_first_and_their_stores(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, rights(share=share, seed=i), store=store)
        for i, (name, share, store) in enumerate(
            [("a", 0.5, "f00d"), ("b", 0.8, "f00d"), ("c", 0.51, "beef")]
        )
    ]
    result = CliRunner().invoke(command, [str(run) for run in runs])
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert text.startswith(f"# Against {runs[0]} on test\n")
    assert "600 clips, the same for all." in text
    assert f"- **{runs[1]}**: top-1 +" in text
    assert f"{runs[0]} and {runs[2]} name different stores (f00df00df00d and beefbeefbeef)" in text
    assert "name different stores" not in text.replace(f"{runs[0]} and {runs[2]} name", "")
    assert text.count("classes\n") == 2
    found = differ(*runs)
    alone = [differ(runs[0], run)[0].p for run in runs[1:]]
    assert [own.p for own in found] == holm(alone)


def test_videos_are_not_taken_for_people(tmp_path: Path) -> None:
    """Where subjects are not known, their column holds the names of videos."""
    runs = [
        write_run(tmp_path / str(share), rights(share=share, seed=7), known=False)
        for share in (0.5, 0.7)
    ]
    assert read_group(str(runs[0]), "test").subjects is None
    (found,) = differ(*runs)
    assert found.subjects == 0
    assert found.scores["top1"]["subjects"] is None
    assert found.holds("top1") == "here"
    assert "Subjects are not known to these runs" in comparison([found], "test")


@pytest.mark.parametrize("text", ["{0},", ",{0}", "{0},,{1}", ""])
def test_a_comma_beside_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)  # runs lie in the current folder, which "" would mean
    for name in "ab":
        write_run(Path(name), rights(30, share=0.5, seed=0))
    with pytest.raises(InputError, match="nothing before or after a comma"):
        read_group(text.format("a", "b"), "test")
    assert read_group(".", "test").runs == 2


@pytest.mark.parametrize("text", ["{0}/a,{0}/a", "{0}/a,{0}/b/../a", "{0},{0}/a"])
def test_a_run_named_twice_is_refused(tmp_path: Path, text: str) -> None:
    for name in "ab":
        write_run(tmp_path / name, rights(30, share=0.5, seed=0))
    with pytest.raises(InputError, match=r"names .*/a more than once"):
        read_group(text.format(tmp_path), "test")


def test_predictions_that_are_none(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", rights(30, share=0.5, seed=0)) / "predictions.csv"
    whole = path.read_text("utf-8")
    path.write_text(whole.replace("clip,part,", "clip,piece,"))
    with pytest.raises(InputError, match=r"a/predictions\.csv: lacks the column part"):
        read_group(str(path.parent), "test")
    path.write_text(whole + "clip9999,test\n")
    with pytest.raises(InputError, match="lacks the column label, prediction in some row"):
        read_group(str(path.parent), "test")
    path.write_bytes(whole.replace("sit", "s\xeft").encode("latin-1"))
    with pytest.raises(InputError, match=r"a/predictions\.csv: cannot be read .*utf-8"):
        read_group(str(path.parent), "test")
    path.write_text(whole.replace("0.5", "x" * 200_000, 1))
    with pytest.raises(InputError, match=r"a/predictions\.csv: cannot be read .*limit"):
        read_group(str(path.parent), "test")


def test_what_only_one_was_trained_or_scored_with_is_said(tmp_path: Path) -> None:
    said: dict[str, dict[str, Any]] = {
        "plain": {"standardise": "clip"},
        "subject": {"standardise": "subject", "untrained": True},
        "failed": {"failed_clips": {"train": 2, "val": 1, "test": 0}},
    }
    right = rights(30, share=0.5, seed=0)
    runs = {name: write_run(tmp_path / name, right, said=own) for name, own in said.items()}
    both = write_run(tmp_path / "both", right, said=said["subject"])

    def notes(*names: Path) -> list[str]:
        text = comparison(differ(*names), "test")
        return [line[2:] for line in text.splitlines() if line.startswith("- Of ")]

    plain, subject, failed = runs.values()
    pair = f"Of {plain} and {subject}, only {subject}"
    assert notes(plain, subject) == [
        f"{pair} has features of an untrained backbone.",
        f"{pair} standardises features by mean and std of their own subject, with unlabelled val "
        "and test data.",
    ]
    assert notes(subject, plain)[0].startswith(f"Of {subject} and {plain}, only {subject} has")
    assert notes(plain, failed) == [
        f"Of {plain} and {failed}, only {failed} was trained without 2 clips that could not be "
        "read."
    ]
    assert notes(subject, both) == []


def test_what_is_no_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", rights(30, share=0.5, seed=0))
    with pytest.raises(InputError, match="neither a run nor a folder of runs"):
        read_group(str(tmp_path / "nothing"), "test")
    with pytest.raises(InputError, match="no val clips"):
        read_group(str(run), "val")
    result = CliRunner().invoke(command, [str(run)])
    assert isinstance(result.exception, InputError)
    assert "name another run" in str(result.exception)
