import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from featstore.errors import InputError
from pipeline.cli.compare import compare as command
from pipeline.metrics.significance import holm, sign_test
from pipeline.report.comparison import comparison, sentence
from pipeline.runs.compare import Difference, compare, difference, read_group
from tests.runs import CLASSES, rights, write_run


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
    assert sentence(found).count(", significant;") == 2
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
    assert "within chance" in sentence(found)


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
    assert "does not extend to other people" in comparison(found, "test")


def test_classes_are_tested_one_by_one(tmp_path: Path) -> None:
    a = rights(share=0.5, seed=4)
    b = np.where(np.arange(600) % 3 == 1, True, a)  # better at eating alone
    (found,) = differ(write_run(tmp_path / "a", a), write_run(tmp_path / "b", b))
    assert [row["p"] < 0.05 for row in found.classes] == [True, False, False]
    row = found.classes[0]
    assert (row["class"], row["clips"], row["other"]) == ("eat", 200, 1)
    assert f"significant classes: eat (+{100 * row['difference']:.1f})." in sentence(found)


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
    assert f"{runs[0]} and {runs[2]} use different stores (f00df00df00d and beefbeefbeef)" in text
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
    assert "do not know the subjects" in comparison([found], "test")


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


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    a, b = (
        write_run(tmp_path / name, rights(share=0.5, seed=seed)) for seed, name in enumerate("ab")
    )
    (tmp_path / "link").symlink_to(a)
    for other in (str(a), f"{b},{tmp_path / 'link'}"):
        with pytest.raises(InputError, match=rf"{a} is in"):
            compare([read_group(str(a), "test"), read_group(other, "test")])


def test_runs_of_other_class_lists_are_refused(tmp_path: Path) -> None:
    a, b = (
        write_run(tmp_path / name, rights(share=0.5, seed=seed)) for seed, name in enumerate("ab")
    )
    scores = dict.fromkeys(("precision", "recall", "f1")) | {"support": 0, "predicted": 0}
    for run, classes in ((a, CLASSES), (b, (*CLASSES, "another"))):
        metrics = json.loads((run / "metrics.json").read_text("utf-8"))
        for part in ("val", "test"):
            metrics[part]["per_class"] = [{"class": name, **scores} for name in classes]
            metrics[part]["confusion"] = {"cells": []}
        (run / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    with pytest.raises(InputError, match=r"class lists .*another"):
        differ(a, b)
