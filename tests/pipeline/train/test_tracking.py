"""Scores in TensorBoard and MLflow: those of the history, also after an interruption."""

import csv
import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from featstore.errors import InputError
from pipeline.runs.files import read_metrics
from pipeline.train.tracking import Tracking, check_installed
from pipeline.train.train import train
from tests.fakes import ordered_store
from tests.stores import write_store
from tests.test_extras import commands
from tests.training import quiet, recipe_of

EPOCHS = 4
RECIPE = recipe_of(f"train.epochs={EPOCHS}", "train.patience=null")
SCORES = {"train/loss": "train_loss", "val/loss": "val_loss", "lr": "lr"}
SCORES |= {f"val/{name}": f"val_{name}" for name in ("top1", "mean_class_accuracy")}


def interrupted(line: str) -> None:
    if line.startswith("epoch   3"):
        raise KeyboardInterrupt


def trained_twice(out: Path, tracker: str) -> list[dict[str, str]]:
    """A training that is interrupted and resumed; the rows of its history."""
    with suppress(KeyboardInterrupt):
        train(ordered_store(), RECIPE, out=out, trackers=(tracker,), log=interrupted)
    assert not out.exists()
    train(ordered_store(), RECIPE, out=out, trackers=(tracker,), log=quiet)
    with (out / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_tensorboard_has_every_epoch_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = trained_twice(tmp_path / "run", "tensorboard")
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    for name, column in SCORES.items():
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == [1, 2, 3, 4]
        expected = [float(row[column]) for row in history]
        assert [scalar.value for scalar in scalars] == pytest.approx(expected, rel=1e-5)
    metrics = read_metrics(tmp_path / "run")
    (test,) = events.Scalars("test/top1")
    assert (test.step, test.value) == (
        metrics["best_epoch"],
        pytest.approx(metrics["test"]["top1"]),
    )
    assert "config/text_summary" in events.Tags()["tensors"]


@pytest.fixture
def mlflow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an MLflow server of its own; skin-deep installations have no server."""
    if importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("huey") is None:
        pytest.skip("needs the package mlflow")
    from mlflow.tracking import MlflowClient

    database, artifacts = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts"
    command = [*(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "0")]
    command += ["--backend-store-uri", database, "--artifacts-destination", str(artifacts)]
    log = tmp_path / "server.log"
    with log.open("wb") as stream:
        server = subprocess.Popen([*command, "--workers", "1"], stdout=stream, stderr=stream)
    try:
        end = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found[0])
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        yield MlflowClient(found[0])
    finally:
        server.terminate()
        server.wait(60)


def test_mlflow_has_every_epoch_once(tmp_path: Path, mlflow_server: Any) -> None:
    history = trained_twice(tmp_path / "run", "mlflow")
    experiment = mlflow_server.get_experiment_by_name("featstore")
    (run,) = mlflow_server.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.tags["featstore.store"] == ordered_store().key
    assert run.data.params["train.epochs"] == str(EPOCHS)
    for name, column in SCORES.items():
        points = mlflow_server.get_metric_history(run.info.run_id, name)
        assert sorted(point.step for point in points) == [1, 2, 3, 4]
        values = {point.step: point.value for point in points}
        expected = [float(row[column]) for row in history]
        assert [values[step] for step in (1, 2, 3, 4)] == pytest.approx(expected, rel=1e-5)
    assert run.data.metrics["test/top1"] == read_metrics(tmp_path / "run")["test"]["top1"]
    names = {item.path for item in mlflow_server.list_artifacts(run.info.run_id)}
    assert {"report.md", "report.html", "metrics.json"} <= names


def test_without_a_server_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match="--log mlflow cannot start"):
        train(ordered_store(), RECIPE, out=tmp_path / "run", trackers=("mlflow",), log=quiet)
    assert list(tmp_path.iterdir()) == []


class Broken:
    """Fails from the second epoch on."""

    def __init__(self, first: int = 1) -> None:
        self.first = first
        self.seen: list[tuple[int, dict[str, float]]] = []

    def log(self, scalars: Mapping[str, float], epoch: int) -> None:
        self.seen.append((epoch, dict(scalars)))
        if epoch > 1:
            raise ConnectionError("gone")

    def close(self, run: Path, *, finished: bool) -> None:
        raise AssertionError("given up")


def test_a_tracker_that_fails_is_given_up(tmp_path: Path) -> None:
    lines: list[str] = []
    broken, late = Broken(), Broken(first=9)
    tracked = Tracking({"mlflow": broken}, lines.append)
    for epoch in (1, 2, 3):
        tracked.epoch({"epoch": epoch, "train_loss": 0.5, "val_top1": float("nan")})
    tracked.close(tmp_path, finished=True)
    assert broken.seen == [(1, {"train/loss": 0.5}), (2, {"train/loss": 0.5})]
    assert lines == ["mlflow failed, and gets no more scores: gone"]
    resumed = Tracking({"late": late}, lines.append)
    resumed.epoch({"epoch": 1, "lr": 0.1})
    resumed.scores("test", {"top1": 0.5}, 1)
    assert late.seen == [(1, {"test/top1": 0.5})]


def test_unknown_and_missing_trackers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'wandb'"):
        check_installed(["wandb"])
    path = str(write_store(tmp_path / "s.zarr"))
    packages = {"tensorboard": "tensorboard", "mlflow": "mlflow-skinny"}
    train_run = ("train", "--store", path, "--out", str(tmp_path / "run"), "--log")
    printed = commands(*((*train_run, name) for name in packages), hidden=tuple(packages))
    for name, package in packages.items():
        assert f"pip install {package} (or, in a checkout: pip install '.[{name}]')" in printed
    assert printed.count("EXIT 2") == 2
    assert not (tmp_path / "run").exists()
