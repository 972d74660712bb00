"""Choose a recipe of a portfolio by successive halving on val, or by cross-validation.

Every recipe is trained for some epochs, the best third for three times as many, and so on, until
one is left. It then competes with the recipes that need no training. Test is never looked at.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from pipeline.types import Log

# Weights have hardly moved before so many steps; with few clips that takes many epochs.
FIRST_STEPS = 200
MOST_AVERAGED = 5  # recipes, which bounds the cost of training and of predictions
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
    chosen = [winner, *close_to(winner, tournament, folds)]
    if len(chosen) > 1:
        reason += f" {_why_several(chosen, folds)}"
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


def close_to(winner: Candidate, tournament: Tournament, folds: Sequence[Fold]) -> list[Candidate]:
    """Return the candidates that cross-validation cannot tell from the winner, the best first.

    Their scores are within one standard error of its accuracy, as in the one-standard-error rule
    of Breiman et al., "Classification and regression trees", 1984. They are standardised as the
    winner is, so that one input serves all heads. With a large val there are none: it tells them
    apart, and each would cost another training.
    """
    if len(folds) == 1:
        return []
    least = winner.best(folds) - standard_error(winner, folds)
    close = [
        one
        for one in tournament.ranked([one for one in tournament.candidates if not one.why])
        if one is not winner and one.recipe.data == winner.recipe.data and one.best(folds) > least
    ]
    return close[: MOST_AVERAGED - 1]


def standard_error(candidate: Candidate, folds: Sequence[Fold]) -> float:
    """Return the standard error of a candidate's top-1 on the clips that all folds score."""
    top1 = max(candidate.curve(folds, "top1"))
    return math.sqrt(top1 * (1 - top1) / sum(len(val) for _, val in folds))


def mean_of_recipes(recipes: Sequence[Recipe], *, folds: int) -> Recipe:
    """Return the recipe of the mean of some recipes, each trained on each fold."""
    first, *others = (
        one.model_copy(update={"train": one.train.model_copy(update={"folds": folds})})
        for one in recipes
    )
    return first.model_copy(update={"mean_with": tuple(others)})


def _why_several(chosen: Sequence[Candidate], folds: Sequence[Fold]) -> str:
    error = f"{100 * standard_error(chosen[0], folds):.1f} points"
    others = listed([one.recipe.name for one in chosen[1:]])
    return (
        f"The run is the mean of its probabilities and those of {others}: within one standard "
        f"error ({error}), and standardised alike."
    )


def fitting(store: Store, portfolio: Portfolio, parts: Parts) -> list[Recipe]:
    """Return the recipes of a portfolio that make sense on a store.

    Left out are those that standardise each clip by itself where most clips have a single step,
    and nearest neighbours of more than `MOST_NEIGHBOURS` training clips.
    """
    single = float((store.row_size[store.usable] == 1).mean()) > 0.5
    many = len(parts["train"]) > MOST_NEIGHBOURS
    kept = [
        recipe
        for recipe in portfolio.recipes
        if not (single and recipe.data.standardise == "clip")
        and not (many and recipe.head.model_dump().get("neighbours"))
    ]
    return kept or list(portfolio.recipes)


def _steps_an_epoch(folds: Sequence[Fold], recipes: Sequence[Recipe]) -> int:
    sizes = [recipe.train.batch_size for recipe in recipes if learns(recipe)]
    return math.ceil(min(len(train) for train, _ in folds) / max(sizes, default=1))
