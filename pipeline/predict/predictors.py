"""Where recordings are predicted: in this process, or by workers on Dask."""

from __future__ import annotations

import platform
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from featstore.errors import InputError
from featstore.format.seal import sha256_of_file
from featstore.keys import differences
from pipeline.build.extract.extractor import Extractor
from pipeline.build.plan.build_plan import cache_of
from pipeline.predict.recording import Predicted, predict_group
from pipeline.predict.trained import Trained, load_trained
from pipeline.predict.windows import Windows
from pipeline.system.dask_cluster import Cluster
from pipeline.types import Tick
from pipeline.video.videos import Video

# Recordings that are standardised together, and their windows.
Group = Sequence[tuple[Video, Windows]]
FILES = ("config.yaml", "weights.safetensors", "standardise.safetensors")


class Predictor(Protocol):
    """Predicts groups of recordings.

    Attributes
    ----------
    numerics : dict
        What decides the last bits; see `pipeline.build.extract.backbone.numerics`.
    """

    numerics: dict[str, Any]

    def predict(self, groups: Iterable[Group], tick: Tick) -> Iterator[tuple[int, list[Predicted]]]:
        """Yield the position of each group and the predictions for its recordings.

        Parameters
        ----------
        groups : iterable of Group
        tick : callable
            Takes the number of newly computed inputs and decoded frames.
        """


class LocalPredictor:
    """Predicts in this process.

    Parameters
    ----------
    trained : Trained
    scratch : Path
        Folder for features that wait until all of a group are computed.
    """

    def __init__(self, trained: Trained, scratch: Path) -> None:
        self._trained, self._scratch = trained, scratch
        self._extractors = [
            Extractor(member.forward, {}, member.statistics) for member in trained.members
        ]
        self.numerics = trained.numerics
        self.batch_sizes = tuple(each.forward.extraction.batch_size for each in trained.members)

    def predict(self, groups: Iterable[Group], tick: Tick) -> Iterator[tuple[int, list[Predicted]]]:
        """Predict groups in order."""
        for number, group in enumerate(groups):
            yield (
                number,
                predict_group(self._trained, self._extractors, group, self._scratch, tick),
            )


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers load.

    Attributes
    ----------
    run : Path
        Absolute.
    files : tuple of str
        Hashes of the run's files; see `hashes_of`.
    weights : tuple of str
        Of each backbone: ``random:SEED``, or an absolute path.
    device : str
    workers : int
        Pieces of videos decoded at once.
    batch_sizes : tuple of (int or None)
        Of each backbone; empty for what a worker finds.
    """

    run: Path
    files: tuple[str, ...]
    weights: tuple[str, ...]
    device: str
    workers: int
    batch_sizes: tuple[int | None, ...] = ()


class DaskPredictor:
    """Has workers predict, one group each at a time.

    Parameters
    ----------
    cluster : Cluster
    job : Job
    """

    def __init__(self, cluster: Cluster, job: Job) -> None:
        self._cluster = cluster
        self._job, self.numerics = cluster.call(f"{__name__}:describe", job)

    def predict(self, groups: Iterable[Group], tick: Tick) -> Iterator[tuple[int, list[Predicted]]]:
        """Predict groups, and yield them as they are ready."""
        tasks = (
            (self._job, self.numerics, [(video.anywhere(), windows) for video, windows in group])
            for group in groups
        )
        for number, predicted in self._cluster.map(f"{__name__}:compute", tasks):
            backbones = len(self._job.weights)
            for recording in predicted:
                windows = recording.windows
                tick(backbones * len(windows.inputs), backbones * windows.frames)
            yield number, predicted


def predictor_of(
    trained: Trained, scratch: Path, device: str, cluster: Cluster | None
) -> Predictor:
    """Return who predicts: the workers of a cluster, or this process without one.

    Parameters
    ----------
    trained : Trained
    scratch : Path
        See `LocalPredictor`.
    device : str
        Of each worker.
    cluster : Cluster or None
    """
    if cluster is None:
        return LocalPredictor(trained, scratch)
    used = [member.forward.extraction.weights for member in trained.members]
    weights = tuple(str(each.path.absolute()) if each.path else each.identity for each in used)
    run, workers = trained.run.absolute(), trained.first.forward.extraction.workers
    return DaskPredictor(cluster, Job(run, hashes_of(run), weights, device, workers))


def hashes_of(run: Path) -> tuple[str, ...]:
    """Return the hashes of the files that decide what a run predicts."""
    files = [run / name for name in FILES]
    return tuple(sha256_of_file(file) for file in files if file.is_file())


# A worker process has one device, so it predicts one group at a time, with one model.
_one_at_a_time = threading.Lock()
_loaded: dict[Job, LocalPredictor] = {}


def describe(job: Job) -> tuple[Job, dict[str, Any]]:
    """Return the job with the batch sizes that this worker found, and its numerics."""
    with _one_at_a_time:
        loaded = _load(job)
    return replace(job, batch_sizes=loaded.batch_sizes), loaded.numerics


def compute(task: tuple[Job, dict[str, Any], Group]) -> list[Predicted]:
    """Predict one group of recordings.

    Parameters
    ----------
    task : tuple of (Job, dict, Group)
        With the numerics of the first worker.

    Raises
    ------
    InputError
        If this worker does not see the run, or has other numerics.
    """
    job, numerics, group = task
    with _one_at_a_time:
        loaded = _load(job)
        if other := differences(numerics, loaded.numerics):
            raise InputError(
                f"The worker on {platform.node()} has other numerics than the first one "
                f"({'; '.join(other)}); use the same software and hardware on all workers."
            )
        ((_, predicted),) = loaded.predict([group], lambda inputs, frames: None)
    return predicted


def _load(job: Job) -> LocalPredictor:
    """Return the run, which is loaded once."""
    if job in _loaded:
        return _loaded[job]
    if hashes_of(job.run) != job.files:
        raise InputError(
            f"The worker on {platform.node()} does not see {job.run} as it is here; workers need "
            "one shared disk with the run, the weights and the recordings."
        )
    with tempfile.TemporaryDirectory() as folder, closing(cache_of(Path(folder))) as cache:
        trained = load_trained(
            job.run,
            cache,
            weights=job.weights,
            device=job.device,
            workers=job.workers,
            batch_sizes=job.batch_sizes,
            log=lambda line: None,
        )
    loaded = LocalPredictor(trained, Path(tempfile.gettempdir()))
    _loaded.clear()
    # The next call names the batch sizes that were found.
    _loaded[replace(job, batch_sizes=loaded.batch_sizes)] = loaded
    return loaded
