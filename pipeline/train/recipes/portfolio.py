"""The portfolio ``auto``: recipes that differ in kind, of which val chooses one for each store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from pipeline.train.recipes.load import Recipe, load_recipe

AUTO = "auto"
# From the simplest to the largest: of equal scores the earlier recipe wins. With each the
# standardisations that leave it something: a mean over time is zero where clips are standardised
# one by one.
CANDIDATES = (
    ("nearest_class_mean", ("none", "train"), ()),
    *(("nearest_neighbours", ("none", "train"), (f"head.neighbours={k}",)) for k in (1, 5, 20)),
    ("linear", ("none", "train"), ()),
    ("mlp", ("none", "train"), ()),
    ("attentive", ("none", "train", "clip"), ()),
    ("baseline", ("none",), ()),
    ("tcn", ("none", "train", "clip"), ()),
    ("bilstm", ("none", "train", "clip"), ()),
)


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Recipes to choose from.

    Attributes
    ----------
    recipes : tuple of Recipe
        The simplest first.
    overrides : tuple of str
        Fields that were set in all of them.
    """

    recipes: tuple[Recipe, ...]
    overrides: tuple[str, ...] = ()
    name: str = AUTO

    def as_dict(self) -> dict[str, Any]:
        """Return what decides the choice, as plain values."""
        names = [recipe.name for recipe in self.recipes]
        return {"name": self.name, "overrides": list(self.overrides), "recipes": names}


def load_recipes(
    name_or_path: str | Path = AUTO, overrides: Sequence[str] = ()
) -> Recipe | Portfolio:
    """Read a recipe, see `load_recipe`, or the portfolio ``auto``.

    Parameters
    ----------
    name_or_path : str or Path
    overrides : sequence of str
        Set in every recipe of the portfolio; those of ``head`` belong to one recipe and are
        refused.

    Raises
    ------
    InputError

    Examples
    --------
    >>> [recipe.name for recipe in load_recipes("auto").recipes][-3:]
    ['bilstm', 'bilstm-train', 'bilstm-clip']
    """
    return (
        load_portfolio(overrides)
        if str(name_or_path) == AUTO
        else load_recipe(name_or_path, overrides)
    )


def load_portfolio(overrides: Sequence[str] = ()) -> Portfolio:
    """Return the portfolio ``auto``; see `load_recipes`."""
    for override in overrides:
        if override.strip().startswith("head."):
            raise InputError(
                f"--set {override}: the portfolio {AUTO} has heads of several kinds; name the "
                "recipe to change with --recipe"
            )
    recipes: list[Recipe] = []
    for name, standardisations, options in CANDIDATES:
        plain = load_recipe(name, options)
        for standardise in standardisations:
            changes = [f"data.standardise={standardise}", *options, *overrides]
            if name.startswith("nearest"):
                changes.append("train.epochs=1")
            recipe = load_recipe(name, changes)
            parts = [name, *(option.partition("=")[2] for option in options)]
            if recipe.data.standardise != plain.data.standardise:
                parts.append(recipe.data.standardise)
            recipe = recipe.model_copy(update={"name": "-".join(parts)})
            if recipe not in recipes:
                recipes.append(recipe)
    return Portfolio(tuple(recipes), tuple(overrides))
