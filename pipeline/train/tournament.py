"""Successive halving: train all recipes for some epochs, the best third for three times as many.

A training that was stopped resumes from its checkpoint, so nothing is trained twice, and a killed
process resumes where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
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
from pipeline.train.checkpoint import read_checkpoint
from pipeline.train.epochs import fit
from pipeline.train.folds import Fold
from pipeline.train.recipes.load import Recipe
from pipeline.train.trial import REDUCTION, best_of, learner_of, promoted
from pipeline.types import Log


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


def learns(recipe: Recipe) -> bool:
    """Tell whether a recipe is trained; the others need no training."""
    from models.heads import HEADS

    return HEADS[recipe.head.kind].learns


@dataclass(slots=True)
class Tournament:
    """Trains the recipes, rung by rung."""

    store: Store
    recipes: Sequence[Recipe]
    folds: Sequence[Fold]
    seed: int
    device: torch.device
    unfinished: Path
    log: Log
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
        winner = self._ranked([*untrained, *left])[0]
        return winner, self._reason(winner, untrained, left, rungs)

    def _rung(self, candidates: Sequence[Candidate], until: int) -> list[Candidate]:
        """Train up to an epoch; return those that did not fail, the best first."""
        for one in candidates:
            try:
                one.histories = [
                    self._history(one, number, until) for number in range(len(self.folds))
                ]
            except (InputError, MemoryError, RuntimeError) as error:
                if not isinstance(error, InputError) and not is_out_of_memory(error):
                    raise
                one.why = str(error)
            self.log(candidate_log(self._row(one)))
        return self._ranked([one for one in candidates if not one.why])

    def _history(self, one: Candidate, number: int, until: int) -> list[dict[str, Any]]:
        """Train on one fold up to an epoch, from where it was; return a row an epoch."""
        path, (train, val) = self.checkpoint(one, number), self.folds[number]
        rows = read_checkpoint(path)[1]["history"] if path.exists() else []

        def pause(row: dict[str, Any]) -> None:
            if row["epoch"] >= until:
                raise PausedError

        if len(rows) < until:
            begun = learner_of(
                self.store, one.recipe, train, val, seed=self.seed, device=self.device
            )
            with begun as learner, suppress(PausedError):
                fit(learner, val, log=_silent, checkpoint=path, after_epoch=pause)
            rows = read_checkpoint(path)[1]["history"]
        return list(rows)

    def checkpoint(self, one: Candidate, number: int) -> Path:
        """Return where the training of one fold is kept."""
        return self.unfinished / f"{one.recipe.name}-fold{number}-{CHECKPOINT}"

    def _ranked(self, candidates: Sequence[Candidate]) -> list[Candidate]:
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

    def rows(self, winner: Candidate) -> list[dict[str, Any]]:
        """Tabulate the candidates, the best first, those that failed last."""
        ranked = self._ranked([one for one in self.candidates if not one.why])
        failed = [one for one in self.candidates if one.why]
        return [self._row(one) | {"won": one is winner} for one in [*ranked, *failed]]

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
