import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.metrics.classification import metrics_of
from pipeline.report.run import observations, report
from pipeline.runs.files import write_json

CLASSES = ("sitting", "eating", "drinking", "a|b")
VAL = np.array([[5, 1, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
TEST = np.array([[8, 2, 0, 0], [3, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])


def scores(confusion: np.ndarray, **more: Any) -> dict[str, Any]:
    return metrics_of(confusion).as_dict(CLASSES) | more


def metrics(**changes: Any) -> dict[str, Any]:
    return {
        "title": "a title, split 0",
        "store_key": "f00d",
        "recipe": "bilstm",
        "seed": 0,
        "device": "cpu",
        "seconds": 1.5,
        "best_epoch": 4,
        "epochs": 9,
        "stopped": "patience",
        "baseline": None,
        "why_stopped": "val top1 had not improved for 5 epochs",
        "monitor": "top1",
        "imbalance": "sampler",
        "mixup": False,
        "subjects_known": True,
        "untrained": False,
        "train": {"clips": 20, "per_class": [12, 5, 3, 0], "classes_without_clips": ["a|b"]},
        "failed_clips": {"train": 0, "val": 0, "test": 0},
        "one_step_val_clips": 0,
        "attention_entropy": None,
        "val": scores(VAL),
        "test": scores(TEST),
    } | changes


def written(tmp_path: Path, **changes: Any) -> str:
    write_json(tmp_path / "metrics.json", metrics(**changes))
    text = report(tmp_path)
    assert (tmp_path / "report.md").read_text("utf-8") == text
    return text


def said(word: str, **changes: Any) -> str:
    """The one observation with `word` in it."""
    (line,) = (line for line in observations(metrics(**changes)) if word in line)
    return line


def test_summary_protocol_and_key(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert text.startswith("# bilstm on a title, split 0\n")
    assert "Store `f00d`, seed 0, 1.5 s." in text
    assert "Val: 11 clips; averages over the 3 of 4 classes that have val clips." in text
    assert "Test: 16 clips; averages over the 3 of 4 classes that have test clips." in text
    assert "| top-1 | 63.6 % | 56.2 % |" in text
    assert "| mean class accuracy | 44.4 % | 35.0 % |" in text
    assert "| eating | sitting | 3 of 4 |" in text
    assert r"| a\|b | 0 | – | – | – |" in text


def test_observations_on_classes() -> None:
    assert said("best epoch") == (
        "The best epoch was 4 of 9; training ended because val top1 had not improved for 5 epochs."
    )
    largest = "sitting (60.0 % of the training clips): 80.0 % on test."
    assert said("largest class") == f"Recall of the largest class, {largest}"
    assert said("without test clips").startswith("1 class without test clips, left out")
    assert said("without val clips").endswith(": drinking.")
    assert said("never predicted") == "1 class never predicted on test: drinking."
    assert said("without training clips") == "1 class without training clips: a|b."


@pytest.mark.parametrize(("entropy", "verdict"), [(0.951, "near uniform"), (0.949, "favours some")])
def test_attention_is_judged_by_its_entropy(entropy: float, verdict: str) -> None:
    line = said("Attention", attention_entropy=entropy, one_step_val_clips=1)
    assert verdict in line
    assert f"{entropy:.3f}" in line
    assert said("single step", attention_entropy=entropy, one_step_val_clips=1).startswith(
        "1 val clip "
    )


def test_how_far_one_seed_can_be_trusted() -> None:
    assert "--seeds 5" in said("one seed")
    assert "one seed" not in " ".join(observations(metrics(epochs=1)))


def test_observations_on_data() -> None:
    assert "people" in said("Subjects", subjects_known=False)
    assert "random" in said("untrained", untrained=True)
    failed = {"train": 3, "val": 0, "test": 1}
    assert said("could not be read", failed_clips=failed).endswith(": 3 of train, 1 of test.")
    assert "not an accuracy" in said("mixup", mixup=True)
    text = " ".join(observations(metrics()))
    for word in ("Subjects", "untrained", "could not be read", "mixup", "Attention", "single step"):
        assert word not in text


def test_without_test_clips_val_is_shown(tmp_path: Path) -> None:
    text = written(tmp_path, test=scores(np.zeros((4, 4), dtype=np.int64)))
    assert "The test part has no clips" in text
    assert "## Most confused on val" in text
    assert "| top-1 | 63.6 % | – |" in text


def test_baseline_differences_only_on_equal_clips(tmp_path: Path) -> None:
    baseline = {
        "name": "plain",
        "recipe": "baseline",
        "seed": 1,
        "store_key": "beef",
        "val": scores(np.diag([5, 4, 0, 2]), common=11),
        "test": scores(TEST, clips=20, common=15),
    }
    text = written(tmp_path, baseline=baseline)
    assert "Baseline: plain (baseline, seed 1)." in text
    assert "**The test clips differ**: 16 here, 20 in the baseline, 15 in both" in text
    assert "| top-1 | 63.6 % | 100.0 % | -36.4 | 56.2 % | 56.2 % | – |" in text


def test_baseline_of_another_store_is_said(tmp_path: Path) -> None:
    baseline = {"name": "plain", "recipe": "baseline", "seed": 1, "store_key": "f00d"}
    baseline |= {"val": scores(VAL, common=11), "test": scores(TEST, common=16)}
    assert "another store" not in written(tmp_path, baseline=baseline)
    text = written(tmp_path, baseline=baseline | {"store_key": "beef"})
    assert "another store**, `beef`" in text


INTERVALS = {
    "level": 0.95,
    "resamples": 2000,
    "subjects": 4,
    "top1": {"clips": [0.5, 0.7513], "subjects": [0.25, 1.0]},
    "mean_class_accuracy": {"clips": [0.4, 0.5], "subjects": None},
}


def test_intervals_and_when_they_cannot_be_trusted(tmp_path: Path) -> None:
    assert "intervals" not in written(tmp_path)
    text = written(tmp_path, intervals={"val": None, "test": INTERVALS})
    assert "95 % intervals, in percent, by 2000 bootstrap resamples" in text
    assert "| test | top-1 | 56.2 % | 50.0 to 75.1 | 25.0 to 100.0 |" in text
    assert "| test | mean class accuracy | 35.0 % | 40.0 to 50.0 | – |" in text
    assert "| val | top-1 |" not in text
    assert "fewer than 5 subjects (4 of test)" in text
    enough = INTERVALS | {"subjects": 5}
    text = written(tmp_path, intervals={"val": None, "test": enough}, subjects_known=False)
    assert "too narrow" not in text
    assert "| over clips | over videos |" in text


def test_calibration_before_and_after_temperature(tmp_path: Path) -> None:
    assert "Calibration" not in written(tmp_path)
    val = {"ece": 0.1, "ece_scaled": 0.02, "nll": 1.5, "nll_scaled": 1.2}
    none = dict.fromkeys(val)
    calibration = {"temperature": 1.5, "bins": 15, "val": val, "test": none}
    text = written(tmp_path, calibration=calibration)
    assert "Temperature 1.50, fitted on val: as trained, the head is overconfident." in text
    assert "| val | 10.0 % | 2.0 % | 1.500 | 1.200 |" in text
    assert "| test | –" not in text
    text = written(tmp_path, calibration=calibration | {"temperature": 0.8})
    assert "underconfident" in text
    text = written(tmp_path, calibration=calibration | {"temperature": 0.050001})
    assert "Temperature 0.05 (a bound of the search" in text


def test_concerns_are_said(tmp_path: Path) -> None:
    assert "- Two clips are the same." in written(tmp_path, concerns=["Two clips are the same."])


def test_nothing_mistaken(tmp_path: Path) -> None:
    assert "No misclassified clips." in written(tmp_path, test=scores(np.diag([1, 2, 3, 4])))


def test_figures_that_exist_are_shown(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "curves.png").write_bytes(b"")
    text = written(tmp_path)
    assert "![Loss and scores by epoch](figures/curves.png)" in text
    assert "attention.png" not in text


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run"):
        report(tmp_path)
    old = {key: value for key, value in metrics().items() if key != "train"}
    (tmp_path / "metrics.json").write_text(json.dumps(old))
    with pytest.raises(InputError, match="lacks train"):
        report(tmp_path)


def test_names_are_no_markup(tmp_path: Path) -> None:
    """Runs of before may hold any name."""
    names = ("<script>alert(1)</script>", "[x](javascript:1)", "two\nlines", "`a`|\x1b[31m")
    run = {part: metrics_of(own).as_dict(names) for part, own in (("val", VAL), ("test", TEST))}
    train = metrics()["train"] | {"classes_without_clips": [names[3]]}
    text = written(tmp_path, title=names[0], recipe=names[1], train=train, **run)
    assert "<script" not in text
    assert "[x](" not in text
    assert "\nlines" not in text.replace("\\nlines", "")
    assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
