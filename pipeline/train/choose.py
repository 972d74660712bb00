"""Choose a recipe of a portfolio by successive halving on val, or by cross-validation.

Every recipe is trained for some epochs, the best third for three times as many, and so on, until
one is left. It then competes with the recipes that need no training. Recipes that improve the
winner are averaged with it. Test is never looked at.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featstore import InputError, Store
from featstore.text import listed
from pipeline.runs.folder import CHECKPOINT
from pipeline.system.distributed import processes
from pipeline.train.data.checks import Parts
from pipeline.train.ensemble import head_checkpoints
from pipeline.train.folds import Fold, folds_of, train_and_val
from pipeline.train.recipes.load import Recipe
from pipeline.train.recipes.portfolio import Portfolio
from pipeline.train.tournament import Candidate, Tournament, learns
from pipeline.train.trial import FIRST_RUNG
from pipeline.types import Floats, Log

# Weights have hardly moved before so many steps; with few clips that takes many epochs.
FIRST_STEPS = 200
MOST_AVERAGED = 3  # recipes; each costs another training
MOST_NEIGHBOURS = 50_000  # training clips that every clip is compared with


def choose(
    store: Store,
    portfolio: Portfolio,
    parts: Parts,
    *,
    seed: int,
    device: torch.device,
    unfinished: Path,
    log: Log,
    workers: int | None = 1,
) -> tuple[Recipe, dict[str, Any]]:
    """Choose a recipe without looking at test.

    Parameters
    ----------
    store : Store
    portfolio : Portfolio
    parts : dict
        Positions of the clips of train, val and test.
    seed : int
        Of every training.
    device : torch.device
    unfinished : Path
        Where checkpoints are kept. With the one named `CHECKPOINT` the winner's training goes on.
    log : callable
    workers : int, optional
        Processes; None chooses. The choice is the same with any number.

    Returns
    -------
    recipe : Recipe
    about : dict
        For the report, see `pipeline.report.portfolio`.

    Raises
    ------
    InputError
        If every recipe fails, with the message of the first, or several processes train together.
    """
    if processes().count > 1:
        raise InputError(
            f"several processes train one recipe together, and {portfolio.name} is a choice of "
            "recipes; name one with --recipe"
        )
    started = time.perf_counter()
    folds, why = folds_of(store, parts)
    log(why)
    recipes = fitting(store, portfolio, parts)
    measured = parts["train"] if len(folds) == 1 else train_and_val(parts)
    tournament = Tournament(store, recipes, folds, measured, seed, device, unfinished, log, workers)
    first = max(FIRST_RUNG, math.ceil(FIRST_STEPS / _steps_an_epoch(folds, recipes)))
    winner, reason = tournament.run(first)
    chosen, why_several = averaged(winner, tournament)
    reason += why_several
    recipe = mean_of_recipes([one.recipe for one in chosen], folds=len(folds))
    kept = [tournament.checkpoint(one, number) for one in chosen for number in range(len(folds))]
    begun = [unfinished / CHECKPOINT] if len(kept) == 1 else head_checkpoints(unfinished, recipe)
    for source, path in zip(kept, begun, strict=True):
        shutil.copyfile(source, unfinished / "copy.part")
        (unfinished / "copy.part").replace(path)
    log(reason)
    about = {
        "name": portfolio.name,
        "clips": sum(len(val) for _, val in folds),
        "folds": len(folds),
        "protocol": why,
        "why": reason,
        "seconds": round(time.perf_counter() - started, 3),
        "candidates": tournament.rows(chosen),
    }
    return recipe, about


def averaged(winner: Candidate, tournament: Tournament) -> tuple[list[Candidate], str]:
    """Return the winner with the recipes that improve it, at most three, and a sentence on them.

    Forward selection: each step adds the recipe that lowers the cross entropy of the mean the most,
    on the clips that compare the recipes, and ends if none does. Caruana et al., "Ensemble
    selection from libraries of models", ICML 2004, without replacement. All are standardised as the
    winner is, so that one input serves all heads.
    """
    rest = [
        one
        for one in tournament.candidates
        if one is not winner and not one.why and one.recipe.data == winner.recipe.data
    ]
    logs = {one.number: tournament.log_probabilities(one) for one in (winner, *rest)}
    chosen = [winner]
    loss = alone = _loss(logs, chosen)
    while rest and len(chosen) < MOST_AVERAGED:
        losses = [_loss(logs, [*chosen, one]) for one in rest]
        if min(losses) >= loss:
            break
        loss = min(losses)
        chosen.append(rest.pop(losses.index(loss)))
    if len(chosen) == 1:
        return chosen, ""
    names = listed([one.recipe.name for one in chosen])
    return chosen, (
        f" The run is the mean of the probabilities of {names}: its cross entropy is {loss:.3f}, "
        f"and {alone:.3f} with {winner.recipe.name} alone."
    )


def _loss(logs: Mapping[int, Floats], candidates: Sequence[Candidate]) -> float:
    """Return the cross entropy of the mean, from log-probabilities of the true classes."""
    rows = np.stack([logs[one.number] for one in candidates])
    return float(np.log(len(rows)) - np.logaddexp.reduce(rows, axis=0).mean())


def mean_of_recipes(recipes: Sequence[Recipe], *, folds: int) -> Recipe:
    """Return the recipe of the mean of some recipes, each trained on each fold."""
    first, *others = (
        one.model_copy(update={"train": one.train.model_copy(update={"folds": folds})})
        for one in recipes
    )
    return first.model_copy(update={"mean_with": tuple(others)})


def fitting(store: Store, portfolio: Portfolio, parts: Parts) -> list[Recipe]:
    """Return the recipes of a portfolio that make sense on a store.

    Left out are those that standardise each clip by itself where most clips have a single step,
    and nearest neighbours of more than `MOST_NEIGHBOURS` training clips. Where all clips have a
    single step, they are not resampled to several equal ones.
    """
    steps = store.row_size[store.usable]
    single = float((steps == 1).mean()) > 0.5
    many = len(parts["train"]) > MOST_NEIGHBOURS
    kept = [
        recipe
        for recipe in portfolio.recipes
        if not (single and recipe.data.standardise == "clip")
        and not (many and recipe.head.model_dump().get("neighbours"))
    ]
    kept = kept or list(portfolio.recipes)
    if steps.max() > 1:
        return kept
    return [
        recipe.model_copy(update={"data": recipe.data.model_copy(update={"steps": 1})})
        for recipe in kept
    ]


def _steps_an_epoch(folds: Sequence[Fold], recipes: Sequence[Recipe]) -> int:
    sizes = [recipe.train.batch_size for recipe in recipes if learns(recipe)]
    return math.ceil(min(len(train) for train, _ in folds) / max(sizes, default=1))
