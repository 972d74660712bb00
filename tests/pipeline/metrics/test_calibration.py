import math

import numpy as np
import pytest
from scipy import optimize, special

from pipeline.metrics.calibration import (
    COOLEST,
    calibration,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    scaled,
)


def drawn(n: int, *, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities that are right after division by `temperature`, with labels drawn so."""
    rng = np.random.default_rng(seed)
    true = special.log_softmax(2 * rng.normal(size=(n, 6)), axis=1)
    labels = (rng.random((n, 1)) > np.exp(true).cumsum(axis=1)).sum(axis=1).clip(max=5)
    return special.log_softmax(true * temperature, axis=1), labels


@pytest.mark.parametrize("temperature", [0.5, 1, 3])
def test_temperature_is_found_again(temperature: float) -> None:
    logs, labels = drawn(20_000, temperature=temperature)
    assert fit_temperature(logs, labels) == pytest.approx(temperature, rel=0.03)


def test_temperature_is_scipys_optimum() -> None:
    logs, labels = drawn(200, temperature=2.5, seed=1)

    def cost(t: float) -> float:
        return -special.log_softmax(logs / t, axis=1)[np.arange(200), labels].mean()

    best = optimize.minimize_scalar(cost, bounds=(0.05, 20), method="bounded")
    found = fit_temperature(logs, labels)
    assert found == pytest.approx(best.x, rel=1e-3)
    assert negative_log_likelihood(scaled(logs, found), labels) <= best.fun + 1e-9


def test_a_perfect_head_is_cooled_to_the_bound() -> None:
    logs = special.log_softmax(np.eye(3) * 5, axis=1)
    assert fit_temperature(logs, np.arange(3)) == pytest.approx(COOLEST, rel=1e-3)


def test_error_equals_a_plain_loop_over_bins() -> None:
    logs, labels = drawn(500, temperature=3, seed=2)
    confidence, right = np.exp(logs).max(axis=1), logs.argmax(axis=1) == labels
    expected = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            expected += inside.sum() / 500 * gap
    assert reliability(logs, labels).error == pytest.approx(expected)
    assert reliability(logs, labels).count.sum() == 500


def test_certainty_falls_in_the_last_bin() -> None:
    logs = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    found = reliability(logs, np.array([0, 0]))
    assert found.count.tolist() == [0] * 14 + [2]
    assert found.error == 0.5


def test_scaling_changes_no_prediction_and_mends_an_overconfident_head() -> None:
    val, test = (drawn(4000, temperature=3, seed=seed) for seed in (3, 4))
    summary = calibration({"val": val, "test": test})
    np.testing.assert_array_equal(
        scaled(test[0], summary["temperature"]).argmax(axis=1), test[0].argmax(axis=1)
    )
    assert summary["test"]["ece"] > 0.1
    assert summary["test"]["ece_scaled"] < 0.03
    assert summary["val"]["nll_scaled"] < summary["val"]["nll"]
    assert summary["test"]["nll_scaled"] < summary["test"]["nll"]


def test_temperature_is_of_val_alone() -> None:
    val, other = drawn(300, temperature=2), drawn(300, temperature=0.3, seed=9)
    none = (np.zeros((0, 6)), np.zeros(0, np.int64))
    temperatures = {calibration({"val": val, "test": t})["temperature"] for t in (val, other, none)}
    assert len(temperatures) == 1
    assert math.isnan(calibration({"val": val, "test": none})["test"]["ece"])
