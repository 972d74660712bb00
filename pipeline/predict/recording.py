"""Classify the windows of recordings, each frame decoded once and each input computed once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from featstore.errors import InputError
from pipeline.build.extract.extractor import Extractor
from pipeline.build.plan.steps import Segment
from pipeline.metrics.predictions import Predictions
from pipeline.predict.trained import Trained
from pipeline.predict.window_store import Rows
from pipeline.predict.windows import Windows
from pipeline.train.data.standardise import of_sums, prior_sums, step_sums
from pipeline.types import Floats, Ints, Tick
from pipeline.video.videos import Video

# Windows classified at once.
BLOCK = 64
# Statistics over a whole recording, or over all of a subject's.
WHOLE = ("recording", "subject")


@dataclass(frozen=True, slots=True)
class Predicted:
    """The predictions for the windows of one recording.

    Attributes
    ----------
    windows : Windows
    log_probabilities : float64 array (n, classes)
        NaN for a gap.
    gaps : dict of int to str
        Number of a window without a prediction, to the reason.
    attention : dict of int to float32 array (steps,)
        Number of a window, to the weight of each of its steps; empty for a head that does not
        attend.
    """

    windows: Windows
    log_probabilities: Floats
    gaps: dict[int, str]
    attention: dict[int, Rows] = field(default_factory=dict)


def predict_group(
    trained: Trained,
    extractors: Sequence[Extractor],
    group: Sequence[tuple[Video, Windows]],
    scratch: Path,
    tick: Tick,
) -> list[Predicted]:
    """Return the predictions for recordings that are standardised together.

    Parameters
    ----------
    trained : Trained
    extractors : sequence of Extractor
        One for each store of the run; they get the videos of the group.
    group : sequence of (Video, Windows)
        More than one where a subject's recordings are standardised together.
    scratch : Path
        Folder for features that wait until all of the group are computed.
    tick : callable
        See `Extractor.units`.

    Raises
    ------
    InputError
        If features leave the head without a finite prediction.
    """
    for extractor in extractors:
        extractor.videos = [video for video, _ in group]
    if trained.standardise not in WHOLE:
        return [
            _predicted(trained, windows, _rows(extractors, number, windows, tick))
            for number, (_, windows) in enumerate(group)
        ]
    with ExitStack() as stack:
        kept = []
        total = np.zeros(1 + 2 * trained.dim)
        for video, (_, windows) in enumerate(group):
            rows = stack.enter_context(_Spool(scratch, trained.dim))
            for number, row in enumerate(_rows(extractors, video, windows, tick)):
                rows.append(row)
                if isinstance(row, np.ndarray):
                    total += counted(row, windows.counts[number], trained)
            kept.append((windows, rows))
        return [_predicted(trained, windows, iter(rows), total) for windows, rows in kept]


def _rows(
    extractors: Sequence[Extractor], video: int, windows: Windows, tick: Tick
) -> Iterator[Rows | str]:
    """Yield the features of each input, those of all stores side by side, or why it is lost."""
    segment = Segment(video, windows.inputs, np.arange(len(windows.inputs)))
    for rows in zip(*(each.stream(segment, tick) for each in extractors), strict=True):
        lost = next((row for row in rows if isinstance(row, str)), None)
        yield np.concatenate(rows) if lost is None else lost


def counted(row: Rows, count: float, trained: Trained) -> Floats:
    """Return the sums of one step that counts some times; see `step_sums`."""
    assert trained.training is not None  # noqa: S101 - as features are standardised
    return float(count) * step_sums(row[None], trained.training)


def _predicted(
    trained: Trained,
    windows: Windows,
    rows: Iterator[Rows | str],
    total: Floats | None = None,
) -> Predicted:
    """Return the predictions for one recording.

    Parameters
    ----------
    trained : Trained
    windows : Windows
    rows : iterator of float32 array (dim,) or str
        The features of each input in order, or why it is lost.
    total : float64 array, optional
        Sums of all steps that standardise these windows together.
    """
    result = np.full((len(windows), len(trained.classes)), np.nan)
    gaps: dict[int, str] = {}
    attention: dict[int, Rows] = {}
    numbers: list[int] = []
    clips: list[Rows] = []
    sums: list[Floats] = []

    def classify() -> None:
        if numbers:
            predictions = classified(trained, clips, sums)
            result[numbers] = predictions.log_probabilities
            attention.update(zip(numbers, predictions.attention or (), strict=False))
            for held in (numbers, clips, sums):
                held.clear()

    for number, clip, past in complete(trained, windows, rows):
        if isinstance(clip, str):
            gaps[number] = clip
            continue
        numbers.append(number)
        clips.append(clip)
        sums.append(total if total is not None else window_sums(trained, clip, past))
        if len(numbers) == BLOCK:
            classify()
    classify()
    return Predicted(windows, result, dict(sorted(gaps.items())), attention)


def window_sums(trained: Trained, clip: Rows, past: Floats) -> Floats:
    """Return the sums of the steps that standardise one window.

    Parameters
    ----------
    trained : Trained
    clip : float32 array (steps, dim)
    past : float64 array (1 + 2 dim,)
        Sums of the steps of the recording up to the window's last one.
    """
    if trained.training is None or trained.standardise == "train":
        return np.zeros(1 + 2 * clip.shape[1])
    if trained.standardise == "clip":
        return step_sums(clip, trained.training)
    return past + prior_sums(trained.training)


def classified(trained: Trained, clips: Sequence[Rows], sums: Sequence[Floats]) -> Predictions:
    """Return the predictions for some windows, standardised by the steps of `sums`.

    Raises
    ------
    InputError
        If they are not finite.
    """
    standardise = None
    if trained.training is not None:
        standardise = of_sums(np.stack(sums), trained.training, device=trained.device)
    result = trained.predictions(clips, standardise)
    if not np.isfinite(result.log_probabilities).all():
        raise InputError(
            f"the head of {trained.run} gives logits that are not finite, though the features "
            "are; train again with a lower train.lr, or with train.clip_norm 1.0"
        )
    return result


def complete(
    trained: Trained, windows: Windows, rows: Iterator[Rows | str]
) -> Iterator[tuple[int, Rows | str, Floats]]:
    """Yield each window as soon as its last input is computed; inputs are kept while needed.

    Yields
    ------
    number : int
        Of the window. Windows come in the order of their ends.
    clip : float32 array (steps, dim) or str
        The features of its steps, or why one is lost.
    past : float64 array (1 + 2 dim,)
        Where statistics are causal, the sums of the recording's steps up to the last one of the
        window; otherwise zeros.
    """
    causal = trained.standardise == "causal"
    firsts = windows.inputs[:, 0]
    # The last step, by the frame that it begins with.
    ends = np.array([firsts[rows_of].max() for rows_of in windows.rows])
    past_inputs = np.searchsorted(firsts, ends, "right")
    needs = np.array([rows_of.max() + 1 for rows_of in windows.rows])
    if causal:
        needs = np.maximum(needs, past_inputs)
    order = np.lexsort((np.arange(len(windows)), ends, needs))
    least = _least_later(windows.rows, order)
    held: dict[int, Rows | str] = {}
    computed = freed = summed = 0
    past = np.zeros(1 + 2 * trained.dim)
    for turn, number in enumerate(order.tolist()):
        while computed < needs[number]:
            held[computed] = next(rows)
            computed += 1
        while causal and summed < past_inputs[number]:
            row = held[summed]
            if isinstance(row, np.ndarray):
                past = past + counted(row, windows.counts[summed], trained)
            summed += 1
        clip = [held[row] for row in windows.rows[number].tolist()]
        lost = next((row for row in clip if isinstance(row, str)), None)
        yield number, np.stack(clip) if lost is None else lost, past
        keep = min(least[turn], summed) if causal else least[turn]
        for old in range(freed, keep):
            del held[old]
        freed = max(freed, keep)


def _least_later(rows: Sequence[Ints], order: Ints) -> list[int]:
    """Return the least input that windows after each one still need, in this order."""
    firsts = np.array([rows[number].min() for number in order])
    later = np.minimum.accumulate(firsts[::-1])[::-1]
    return [*later[1:].tolist(), int(firsts[-1])]


class _Spool:
    """Features of a recording, in a file without a name until all are computed."""

    def __init__(self, folder: Path, dim: int) -> None:
        self._dim = dim
        self._lost: dict[int, str] = {}
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, row: Rows | str) -> None:
        """Keep the features of the next input, or why it is lost."""
        if isinstance(row, str):
            self._lost[self._count] = row
            row = np.zeros(self._dim, np.float32)
        self._file.write(row.tobytes())
        self._count += 1

    def __iter__(self) -> Iterator[Rows | str]:
        self._file.seek(0)
        for number in range(self._count):
            content = self._file.read(4 * self._dim)
            yield self._lost.get(number) or np.frombuffer(content, np.float32)
