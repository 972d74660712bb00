"""Send a training's scores to TensorBoard or MLflow while it runs: ``train --log``."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import yaml

from featstore.errors import InputError
from featstore.format.files import write_text
from pipeline.runs.folder import CHECKPOINT
from pipeline.runs.listing import leaves
from pipeline.train.checkpoint import read_checkpoint
from pipeline.types import Log

TRACKERS = ("tensorboard", "mlflow")
EXPERIMENT = "featstore"
# Of a finished run, in the folder of MLflow's artifacts.
ARTIFACTS = ("config.yaml", "metrics.json", "history.csv", "report.md", "report.html")
MLFLOW_RUN = "mlflow.txt"  # next to the checkpoint: an interrupted training continues its run
LONGEST = 500  # characters of a parameter
_PART = re.compile("^(train|val)_")


class _Tracker(Protocol):
    first: int  # the first epoch that it lacks

    def log(self, scalars: Mapping[str, float], epoch: int) -> None: ...

    def close(self, run: Path, *, finished: bool) -> None: ...


class _TensorBoard:
    """Event files in the run's folder ``tensorboard``, which start over after an interruption."""

    first = 1

    def __init__(self, run: Path, config: Mapping[str, Any]) -> None:
        module: Any = import_module("torch.utils.tensorboard")
        self._writer = module.SummaryWriter(str(run / "tensorboard"), flush_secs=10)
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        self._writer.add_text("config", re.sub("^", "    ", text, flags=re.MULTILINE))

    def log(self, scalars: Mapping[str, float], epoch: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, epoch)

    def close(self, run: Path, *, finished: bool) -> None:
        self._writer.close()


class _MLflow:
    """A run of the server or database that MLflow's own environment variables name."""

    def __init__(self, run: Path, config: Mapping[str, Any], name: str, done: int) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient()
        kept = run.with_name(MLFLOW_RUN)
        if done and kept.is_file():
            self._id, self.first = kept.read_text("utf-8"), done + 1
            self._client.update_run(self._id, status="RUNNING")
            return
        self.first = 1
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        there = self._client.get_experiment_by_name(experiment)
        number = there.experiment_id if there else self._client.create_experiment(experiment)
        tags = {"featstore.store": str(config["store"]["key"])}
        self._id = self._client.create_run(number, run_name=name, tags=tags).info.run_id
        write_text(kept, self._id)
        settings = {**leaves(config["recipe"]), "seed": config["seed"], "device": config["device"]}
        params = [Param(key, str(value)[:LONGEST]) for key, value in settings.items()]
        self._client.log_batch(self._id, params=params)

    def log(self, scalars: Mapping[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, epoch) for name, value in scalars.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, run: Path, *, finished: bool) -> None:
        for name in ARTIFACTS if finished else ():
            self._client.log_artifact(self._id, str(run / name))
        self._client.set_terminated(self._id, "FINISHED" if finished else "FAILED")


class Tracking:
    """The trackers of one training. One that fails is dropped, and the training continues.

    Parameters
    ----------
    trackers : mapping of str to tracker
    log : callable
        Told of a tracker that fails.
    """

    def __init__(self, trackers: Mapping[str, _Tracker], log: Log) -> None:
        self._trackers, self._log = dict(trackers), log

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Send a row of the history, as ``train/loss``, ``val/top1`` and so on."""
        epoch = int(row["epoch"])
        scalars = _finite({_PART.sub(r"\1/", key): row[key] for key in row if key != "epoch"})
        self._each(lambda it: it.log(scalars, epoch) if epoch >= it.first else None)

    def scores(self, part: str, scores: Mapping[str, float], epoch: int) -> None:
        """Send the scores of a part, as ``test/top1`` and so on, by the weights of an epoch."""
        scalars = _finite({f"{part}/{name}": value for name, value in scores.items()})
        self._each(lambda it: it.log(scalars, epoch))

    def close(self, run: Path, *, finished: bool) -> None:
        """End; a finished run's folder is complete."""
        self._each(lambda it: it.close(run, finished=finished))

    def _each(self, act: Callable[[_Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                act(tracker)
            except Exception as error:  # hours of training outweigh a server that is gone
                self._log(f"{name} failed, and gets no more scores: {error}")
                del self._trackers[name]


def _finite(scalars: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in scalars.items() if math.isfinite(value)}


@contextmanager
def tracking(
    names: Sequence[str], run: Path, config: Mapping[str, Any], log: Log, *, name: str
) -> Iterator[Tracking]:
    """Give the trackers of one training, and close them after the block.

    Epochs that ran before an interruption are sent again where they are missing.

    Parameters
    ----------
    names : sequence of str
        Of `TRACKERS`.
    run : Path
        The folder of the unfinished run.
    config : mapping
        As in the run's ``config.yaml``.
    log : callable
    name : str
        The run's name.

    Raises
    ------
    InputError
        If a tracker cannot start.
    """
    history: list[dict[str, Any]] = []
    if names and (checkpoint := run.with_name(CHECKPOINT)).exists():
        history = read_checkpoint(checkpoint)[1]["history"]
    trackers: dict[str, _Tracker] = {}
    for tracker in dict.fromkeys(names):
        try:
            if tracker == "mlflow":
                trackers[tracker] = _MLflow(run, config, name, len(history))
            else:
                trackers[tracker] = _TensorBoard(run, config)
        except Exception as error:  # of any package that MLflow's address leads to
            raise InputError(f"--log {tracker} cannot start: {error}") from None
    them, finished = Tracking(trackers, log), False
    try:
        for row in history:
            them.epoch(row)
        yield them
        finished = True
    finally:
        them.close(run, finished=finished)


def check_installed(names: Sequence[str]) -> None:
    """Import the packages of trackers, before anything is trained.

    Raises
    ------
    InputError
        If a name is unknown.
    ModuleNotFoundError
        If a package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"There is no tracker {name!r}; there are {', '.join(TRACKERS)}.")
        import_module(name)
