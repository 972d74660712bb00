"""A worker's part of a build: everything except planning, commits and the seal."""

from __future__ import annotations

import platform
import threading
import time
from dataclasses import dataclass
from typing import Any

from featstore.errors import InputError
from featstore.format.codecs import Codec
from featstore.format.files import files_at
from featstore.keys import differences
from featstore.writing.staging import RUN, write_unit
from pipeline.build.extract.backbone import Forward, load_forward
from pipeline.build.extract.extractor import Extractor
from pipeline.build.extract.statistics import Statistics
from pipeline.build.plan.extraction import Extraction
from pipeline.build.plan.weights import Weights
from pipeline.build.units import UnitWork, Written
from pipeline.video.cache import content_hash
from pipeline.video.videos import Video

NOTHING = Statistics(mean=(0.0,), std=(1.0,), origin="fixed")


@dataclass(frozen=True, slots=True)
class Computed:
    """A worker's result for a unit.

    Attributes
    ----------
    written : Written
    seconds : dict of str to float
        By stage.
    facts : dict
        See `Extractor.facts`.
    changed : list of str
        Differences between this worker's numerics and the job's.
    """

    written: Written
    seconds: dict[str, float]
    facts: dict[str, Any]
    changed: list[str]


@dataclass(frozen=True, slots=True)
class Job:
    """The settings shared by all units of a build.

    Attributes
    ----------
    extraction : Extraction
        With weights of an absolute path.
    statistics : Statistics
    files, commits : str
        The folder of the chunks, and the folder with the name of the calling process.
    run : str
        The name of the calling process.
    chunk_rows, dim : int
    codec : Codec
    numerics : dict
        The numerics that units must have.
    """

    extraction: Extraction
    statistics: Statistics
    files: str
    commits: str
    run: str
    chunk_rows: int
    dim: int
    codec: Codec
    numerics: dict[str, Any]


# A worker process has one device, so it computes one unit at a time, with one model.
_one_at_a_time = threading.Lock()
_loaded: dict[Extraction, tuple[Forward, dict[str, Any]]] = {}
_extractors: dict[str, Extractor] = {}


def describe(extraction: Extraction) -> tuple[Extraction, dict[str, Any], int, int]:
    """Return the extraction with its batch size, the numerics, and the length of features.

    Last comes the number of vectors that a feature is made of.
    """
    with _one_at_a_time:
        forward, numerics = _load(extraction)
    return forward.extraction, numerics, forward.dim, forward.places


def compute(task: tuple[Job, UnitWork, dict[int, Video]]) -> Computed:
    """Compute one unit and write its chunk.

    Parameters
    ----------
    task : tuple of (Job, UnitWork, dict of int to Video)
        The videos that the unit needs, by number.

    Raises
    ------
    InputError
        If this worker does not see the store or the weights.
    """
    job, work, videos = task
    with _one_at_a_time:
        _check_place(job)
        forward, numerics = _load(job.extraction)
        extractor = _extractor(job, forward)
        extractor.videos = videos
        extractor.timings.clear()
        unit_rows = next(extractor.units([work.segments], lambda inputs, frames: None))
        since = time.perf_counter()
        rows = work.assemble(unit_rows.rows, job.dim)
        commit = write_unit(files_at(job.files), work.number, rows, job.chunk_rows, job.codec)
        extractor.timings.add("write", since)
        seconds, facts = dict(extractor.timings.seconds), extractor.facts()
    written = Written(work.number, commit, unit_rows.failed)
    return Computed(written, seconds, facts, differences(job.numerics, numerics))


def _check_place(job: Job) -> None:
    """Raise if this worker does not see the build, or another process took it over.

    Raises
    ------
    InputError
    """
    try:
        seen = files_at(job.commits).read(RUN).decode()
    except OSError:
        seen = ""
    if seen != job.run:
        raise InputError(
            f"The worker on {platform.node()} does not see this build at {job.commits}; workers "
            "and the one who asks need one shared disk for --stores, or --stores s3://..."
        )


def _load(extraction: Extraction) -> tuple[Forward, dict[str, Any]]:
    """Return the model, which is loaded once, and this worker's numerics."""
    if extraction in _loaded:
        return _loaded[extraction]
    _check_weights(extraction.weights)
    forward = load_forward(extraction)
    probe = Extractor(forward, {}, NOTHING)
    _loaded.clear()
    _extractors.clear()
    # Whoever asks next gives the batch size that was found.
    loaded = forward, forward.numerics | probe.depends_on_place()
    _loaded[forward.extraction] = loaded
    return loaded


def _check_weights(weights: Weights) -> None:
    """Raise if the weights are missing or different.

    Raises
    ------
    InputError
    """
    path = weights.path
    if path is None:
        return
    content = content_hash(path) if path.is_file() else "missing"
    if f"sha256:{content}" != weights.identity:
        raise InputError(
            f"On {platform.node()}, {path} is not the weights file of this build; workers need "
            "the same file under the same path."
        )


def _extractor(job: Job, forward: Forward) -> Extractor:
    name = str(job.statistics)
    if name not in _extractors:
        _extractors.clear()
        _extractors[name] = Extractor(forward, {}, job.statistics)
    return _extractors[name]
