"""How many epochs run, which one is kept, and at which learning rates."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.metrics.classification import metrics_of
from pipeline.train.epochs import fit
from pipeline.train.recipes.load import Recipe, Train


def quiet(line: str) -> None:
    pass


class Scripted:
    """Stands in for a `Learner`: val top-1 by epoch is given, the weight is the epoch."""

    def __init__(self, scores: list[float], **options: Any) -> None:
        settings = {"monitor": "top1", "epochs": len(scores), "patience": 2, "min_epochs": 0}
        self.recipe = Recipe(name="scripted", train=Train(**(settings | options)))
        self.head, self.scores, self.epochs = torch.nn.Linear(1, 1), scores, 0
        self.optimizer = torch.optim.SGD(self.head.parameters(), lr=1.0)
        self.waited = 0.0

    def epoch(self) -> tuple[float, float]:
        self.epochs += 1
        self.optimizer.step()
        torch.nn.init.constant_(self.head.weight, self.epochs)
        return 1.0, 0.5

    def predict(self, clips: object) -> Any:
        right = round(1e7 * self.scores[self.epochs - 1])
        metrics = metrics_of(np.array([[right, 10**7 - right], [0, 0]]))
        return SimpleNamespace(loss=1 - right / 1e7, metrics=metrics)


@pytest.mark.parametrize(
    ("scores", "options", "best", "epochs", "stopped"),
    [
        ([0.1, 0.3, 0.2, 0.3, 0.9], {}, 2, 4, "patience"),  # a tie is no improvement
        ([0.1, 0.3, 0.2, 0.4, 0.3], {}, 4, 5, "epochs"),
        ([0.5, 0.1, 0.1, 0.1, 0.1, 0.9], {"min_epochs": 3}, 1, 5, "patience"),
        ([0.5, 0.1, 0.1, 0.1, 0.6], {"min_epochs": 3}, 5, 5, "epochs"),
        ([0.5, 0.1, 0.1, 0.1, 0.1], {"patience": None}, 1, 5, "epochs"),
        ([0.1, 0.3, 0.2, 0.3, 0.9], {"monitor": "loss"}, 2, 4, "patience"),
    ],
)
def test_early_stopping(
    scores: list[float], options: dict[str, Any], best: int, epochs: int, stopped: str
) -> None:
    learner = Scripted(scores, **options)
    got = fit(learner, np.array([]), log=quiet)  # type: ignore[arg-type]
    assert (got.best_epoch, len(got.history), got.stopped) == (best, epochs, stopped)
    assert learner.head.weight.item() == best


@pytest.mark.parametrize("schedule", ["none", "plateau", "cosine"])
def test_schedules(schedule: str) -> None:
    rates = [
        row["lr"]
        for row in fit(
            Scripted([0.5] + [0.1] * 9, patience=None, schedule=schedule),  # type: ignore[arg-type]
            np.array([]),
            log=quiet,
        ).history
    ]
    assert rates[0] == 1.0
    last = {"none": 1.0, "plateau": 0.5, "cosine": (1 + np.cos(0.9 * np.pi)) / 2}[schedule]
    assert rates[-1] == pytest.approx(last)


@pytest.mark.parametrize("monitor", ["top1", "loss"])
@pytest.mark.parametrize("later", [0.5, 0.49999])
def test_plateau_halves_after_five_epochs_without_improvement(monitor: str, later: float) -> None:
    # The best score is that of epoch 2; epochs 3 to 7 are as good or hardly worse.
    scores = [0.4, 0.5, *[later] * 11]
    learner = Scripted(scores, patience=None, schedule="plateau", monitor=monitor)
    got = fit(learner, np.array([]), log=quiet)  # type: ignore[arg-type]
    rates = [row["lr"] for row in got.history]
    assert rates == [1.0] * 7 + [0.5] * 5 + [0.25]


@pytest.mark.parametrize("monitor", ["top1", "loss"])
def test_any_improvement_keeps_the_rate(monitor: str) -> None:
    scores = [0.5 + 1e-6 * epoch for epoch in range(13)]
    learner = Scripted(scores, patience=None, schedule="plateau", monitor=monitor)
    got = fit(learner, np.array([]), log=quiet)  # type: ignore[arg-type]
    assert {row["lr"] for row in got.history} == {1.0}
