"""Successive halving: train all recipes for some epochs, the best third for three times as many.

A training that was stopped resumes from its checkpoint, so nothing is trained twice, and a killed
process resumes where it was.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featstore import InputError, Store
from featstore.text import count_of
from pipeline.metrics.classification import MAIN_SCORES
from pipeline.report.portfolio import candidate_log
from pipeline.runs.folder import CHECKPOINT
from pipeline.system.out_of_memory import is_out_of_memory
from pipeline.system.processes import call_in_processes
from pipeline.train.checkpoint import read_checkpoint
from pipeline.train.epochs import best_val_logs, fit
from pipeline.train.folds import Fold
from pipeline.train.recipes.load import Recipe
from pipeline.train.trial import REDUCTION, best_of, learner_of, promoted
from pipeline.train.workers import OPTION, processes_for
from pipeline.types import Clips, Floats, Log

TRAIN = "pipeline.train.tournament:train_in_worker"


class PausedError(Exception):
    """Ends a training that may go on later."""


@dataclass(slots=True)
class Candidate:
    """A recipe of the portfolio and its scores.

    Attributes
    ----------
    recipe : Recipe
    number : int
    learns : bool
        Whether it is trained, or needs no training.
    histories : list of list of dict
        Rows by epoch, for each fold.
    why : str
        Why its training failed; empty where it did not.
    """

    recipe: Recipe
    number: int
    learns: bool
    histories: list[list[dict[str, Any]]] = field(default_factory=list)
    why: str = ""

    def curve(self, folds: Sequence[Fold], name: str = "") -> list[float]:
        """Return the score by epoch: the mean of folds, weighted by their val clips.

        Without a name the score is the mean of top-1 and mean class accuracy.
        """
        names = [name] if name else MAIN_SCORES
        epochs = max(map(len, self.histories))
        weights = [len(val) for _, val in folds]
        rows = np.array(
            [
                [
                    np.mean([rows[min(epoch, len(rows) - 1)][f"val_{one}"] for one in names])
                    for epoch in range(epochs)  # a fold that ended early keeps its last score
                ]
                for rows in self.histories
            ]
        )
        return [float(score) for score in np.average(rows, axis=0, weights=weights)]

    def best(self, folds: Sequence[Fold]) -> float:
        """Return the score of the best epoch so far."""
        curve = self.curve(folds)
        return curve[best_of(curve, "top1")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The training of a candidate on one fold, up to an epoch.

    Attributes
    ----------
    number : int
        Of the candidate.
    store : Store
    recipe : Recipe
    train, val, measured : int64 array (n,)
        Positions of the clips to learn from, to score, and to standardise features by.
    seed : int
    device : torch.device
    checkpoint : Path
        Where the training is kept, and resumes from.
    until : int
        The last epoch.
    """

    number: int
    store: Store
    recipe: Recipe
    train: Clips
    val: Clips
    measured: Clips
    seed: int
    device: torch.device
    checkpoint: Path
    until: int

    @property
    def steps(self) -> int:
        """The steps of all epochs."""
        return self.until * math.ceil(len(self.train) / self.recipe.train.batch_size)


def train_until(job: Job) -> list[dict[str, Any]]:
    """Train a job from where it was; return a row an epoch."""
    path = job.checkpoint
    rows = read_checkpoint(path)[1]["history"] if path.exists() else []

    def pause(row: dict[str, Any]) -> None:
        if row["epoch"] >= job.until:
            raise PausedError

    if len(rows) < job.until:
        begun = learner_of(
            job.store,
            job.recipe,
            job.train,
            job.val,
            seed=job.seed,
            device=job.device,
            measured=job.measured,
        )
        with begun as learner, suppress(PausedError):
            fit(learner, job.val, log=_silent, checkpoint=path, after_epoch=pause)
        rows = read_checkpoint(path)[1]["history"]
    return list(rows)


def train_in_worker(job: Job) -> int:
    """Train a job in a worker process; return the number of its candidate."""
    torch.set_num_threads(1)
    with suppress(InputError, MemoryError, RuntimeError):  # raised again in the calling process
        train_until(job)
    return job.number


def learns(recipe: Recipe) -> bool:
    """Tell whether a recipe is trained; the others need no training."""
    from models.heads import HEADS

    return HEADS[recipe.head.kind].learns


@dataclass(slots=True)
class Tournament:
    """Trains the recipes, rung by rung, in up to `workers` processes; None chooses."""

    store: Store
    recipes: Sequence[Recipe]
    folds: Sequence[Fold]
    measured: Clips
    seed: int
    device: torch.device
    unfinished: Path
    log: Log
    workers: int | None = 1
    candidates: list[Candidate] = field(default_factory=list)

    def run(self, first: int) -> tuple[Candidate, str]:
        """Return the winner, and why it won."""
        self.candidates = [
            Candidate(recipe, number, learns(recipe)) for number, recipe in enumerate(self.recipes)
        ]
        untrained = self._rung([one for one in self.candidates if not one.learns], 1)
        left = [one for one in self.candidates if one.learns]
        most = max((one.recipe.train.epochs for one in left), default=0)
        rung, rungs = min(first, most), list[str]()
        while left:
            left = self._rung(left, rung)
            rungs.append(f"{len(left)} after {count_of(rung, 'epoch')}")
            left = left[:1] if rung == most else left[: promoted(len(left))]
            if len(left) < 2:
                break
            rung = min(rung * REDUCTION, most)
        if len(self.folds) == 1 and rung < most:  # the run itself goes on with these weights
            left = self._rung(left, most)
        if not untrained and not left:
            raise InputError(self.candidates[0].why)
        winner = self.ranked([*untrained, *left])[0]
        return winner, self._reason(winner, untrained, left, rungs)

    def _rung(self, candidates: Sequence[Candidate], until: int) -> list[Candidate]:
        """Train up to an epoch; return those that did not fail, the best first."""
        with closing(self._trained(candidates, until)) as trained:  # an interrupt ends processes
            for one in trained:
                self._note(one, until)
        return self.ranked([one for one in candidates if not one.why])

    def _note(self, one: Candidate, until: int) -> None:
        """Train a candidate up to an epoch, unless processes did, and log its scores."""
        try:
            one.histories = [
                train_until(self._job(one, number, until)) for number in range(len(self.folds))
            ]
        except (InputError, MemoryError, RuntimeError) as error:
            if not isinstance(error, InputError) and not is_out_of_memory(error):
                raise
            one.why = str(error)
        self.log(candidate_log(self._row(one)))

    def _trained(
        self, candidates: Sequence[Candidate], until: int
    ) -> Generator[Candidate, None, None]:
        """Yield the candidates, after processes have trained them if that takes less time.

        What fails there fails again in this process, which says why.
        """
        jobs = [
            self._job(one, number, until)
            for one in candidates
            for number in range(len(self.folds))
            if one.learns
        ]
        workers = self.workers or processes_for(
            [self.store], self.device, trainings=len(jobs), steps=sum(job.steps for job in jobs)
        )
        if min(workers, len(jobs)) < 2:
            yield from candidates
            return
        missing = Counter(job.number for job in jobs)
        workers = min(workers, len(jobs))
        with closing(call_in_processes(TRAIN, jobs, workers, option=OPTION)) as finished:
            for number in finished:
                missing[number] -= 1
                if not missing[number]:
                    yield self.candidates[number]

    def _job(self, one: Candidate, number: int, until: int) -> Job:
        train, val = self.folds[number]
        return Job(
            number=one.number,
            store=self.store,
            recipe=one.recipe,
            train=train,
            val=val,
            measured=self.measured,
            seed=self.seed,
            device=self.device,
            checkpoint=self.checkpoint(one, number),
            until=until,
        )

    def checkpoint(self, one: Candidate, number: int) -> Path:
        """Return where the training of one fold is kept."""
        return self.unfinished / f"{one.recipe.name}-fold{number}-{CHECKPOINT}"

    def log_probabilities(self, one: Candidate) -> Floats:
        """Return those of the true classes of the held-out clips of all folds, float64 (n,)."""
        rows = []
        for number, (_, val) in enumerate(self.folds):
            logs = best_val_logs(self.checkpoint(one, number))
            rows.append(logs[np.arange(len(val)), self.store.labels[val]])
        return np.concatenate(rows)

    def ranked(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates by score, the best first; of equal ones the simpler first."""
        return sorted(candidates, key=lambda one: (-one.best(self.folds), one.number))

    def _reason(
        self,
        winner: Candidate,
        untrained: Sequence[Candidate],
        left: Sequence[Candidate],
        rungs: Sequence[str],
    ) -> str:
        text = f"{winner.recipe.name} won with {100 * winner.best(self.folds):.1f} %"
        others = [one for one in (*untrained[:1], *left[:1]) if one is not winner]
        if others:
            other = others[0]
            kind = "trained" if other.learns else "training-free"
            score = f"{100 * other.best(self.folds):.1f} %"
            text += f"; the best {kind} recipe, {other.recipe.name}, has {score}"
        if rungs:
            text += f". Trained recipes compared: {', '.join(rungs)}"
        return text + "."

    def rows(self, chosen: Sequence[Candidate]) -> list[dict[str, Any]]:
        """Tabulate the candidates, the best first, those that failed last."""
        ranked = self.ranked([one for one in self.candidates if not one.why])
        failed = [one for one in self.candidates if one.why]
        return [self._row(one) | {"won": one in chosen} for one in [*ranked, *failed]]

    def _row(self, one: Candidate) -> dict[str, Any]:
        row = {"recipe": one.recipe.name, "standardise": one.recipe.data.standardise}
        if one.why:
            return {**row, "failed": one.why}
        best = best_of(one.curve(self.folds), "top1")
        scores = {name: one.curve(self.folds, name)[best] for name in MAIN_SCORES}
        epochs = max(map(len, one.histories)) if one.learns else 0
        return {**row, "epochs": epochs, "score": one.best(self.folds), **scores}


def _silent(line: str) -> None:
    pass
