"""What a run says of its own certainty."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline.metrics.bootstrap import intervals
from pipeline.metrics.calibration import calibration, fit_temperature
from pipeline.runs.files import PARTS, read_metrics, read_predictions
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.fakes import FakeStore, ordered_store


def repeated() -> FakeStore:
    """A store whose first val clip is a training clip again."""
    store = ordered_store(150, dim=32)
    clip = store.split("val")[0]
    first, size = store.offsets[clip], store.row_size[clip]
    store.rows.array[first : first + size] = store[3].mean(axis=0)
    return store


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> Path:
    recipe = load_recipe("bilstm", ["head.hidden=8", "train.epochs=3", "train.lr=1e-2"])
    return train(repeated(), recipe, out=tmp_path_factory.mktemp("runs") / "a", log=lines.append)


def of_part(run: Path, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions, probabilities and subjects, as written."""
    rows = [row for row in read_predictions(run) if row["part"] == part]
    labels, guesses = (
        np.array(["ab".index(row[name]) for row in rows]) for name in ("label", "prediction")
    )
    sure = np.array([float(row["probability"]) for row in rows])
    return labels, guesses, sure, np.array([row["subject"] for row in rows])


def test_log_probabilities_are_kept_in_the_order_of_the_predictions(run: Path) -> None:
    logs = load_file(run / "predictions.safetensors")
    assert logs.keys() == set(PARTS)
    for part in PARTS:
        _, guesses, sure, _ = of_part(run, part)
        np.testing.assert_array_equal(logs[part].argmax(axis=1), guesses)
        np.testing.assert_allclose(np.exp(logs[part].max(axis=1)), sure, rtol=1e-5)
        assert logs[part].dtype == np.float32


def test_calibration_is_that_of_what_is_kept(run: Path) -> None:
    logs = load_file(run / "predictions.safetensors")
    kept = {part: (logs[part].astype(float), of_part(run, part)[0]) for part in PARTS}
    found, expected = read_metrics(run)["calibration"], calibration(kept)
    assert found["temperature"] == pytest.approx(fit_temperature(*kept["val"]), rel=1e-3)
    for part in PARTS:
        assert found[part] == pytest.approx(expected[part], rel=1e-3)


def test_intervals_are_those_of_the_predictions(run: Path) -> None:
    metrics = read_metrics(run)
    for part in PARTS:
        labels, guesses, _, subjects = of_part(run, part)
        assert metrics["intervals"][part] == intervals(
            labels, labels == guesses, subjects, classes=2
        )
        assert set(subjects) <= {f"{part}{i}" for i in range(3)}
        assert metrics["subjects"][part] == len(set(subjects))


def test_concerns_are_logged_and_reported(run: Path, lines: list[str]) -> None:
    store = repeated()
    (sentence,) = read_metrics(run)["concerns"]
    assert f"{store.clip_ids[store.split('val')[0]]} of val and clip0003 of train" in sentence
    assert sentence in lines
    assert f"- {sentence}\n" in (run / "report.md").read_text("utf-8")
