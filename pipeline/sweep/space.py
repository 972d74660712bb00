"""What a sweep searches: a recipe and ranges of its fields, read from YAML and checked.

::

    recipe: tcn
    trials: 100
    space:
      train.lr: {low: 1e-4, high: 1e-2, log: true}
      train.batch_size: {low: 16, high: 64, step: 16}
      head.hidden: {choices: [64, 128, 256]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from featstore.errors import InputError
from pipeline.train.recipes import DEFAULT
from pipeline.train.recipes.load import Recipe, check_names, load_recipe, recipe_of, validated
from pipeline.yaml_text import read_yaml, short

# Fields that decide what is compared, or nothing at all.
REFUSED = {
    "name": "it decides nothing",
    "train.monitor": "it is what trials are compared by",
    "head.num_classes": "it is the store's",
    "head.kind": "every head has fields of its own; make a sweep for each",
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Range(_Section):
    """Numbers from `low` to `high`, both included; integers where the field takes only those.

    Attributes
    ----------
    low, high : float or int
    log : bool
        Draw evenly by order of magnitude.
    step : float or int or None
        Only multiples of it above `low`.
    """

    low: float
    high: float
    log: bool = False
    step: PositiveFloat | None = None


class Choices(_Section):
    """Some values.

    Attributes
    ----------
    choices : list
        Numbers, strings, true, false or null.
    """

    choices: Annotated[list[Any], Field(min_length=2)]


class _File(_Section):
    recipe: str = DEFAULT
    trials: PositiveInt = 100
    space: Annotated[dict[str, Any], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a sweep searches; made by `load_space` or `space_of`.

    Attributes
    ----------
    label : str
        Where it comes from.
    base : Recipe
        It gives the fields that are not searched.
    trials : int
        How many to make.
    fields : mapping of str to Range or Choices
        By their names in recipes, such as ``train.lr``.
    """

    label: str
    base: Recipe
    trials: int
    fields: Mapping[str, Range | Choices]

    def recipe(self, values: Mapping[str, Any], *, name: str | None = None) -> Recipe:
        """Return the base recipe with other values of some fields.

        Parameters
        ----------
        values : mapping
        name : str, optional
            Of the recipe; by default that of the base.

        Raises
        ------
        InputError
            If a value does not fit, or values do not go together.
        """
        tree = self.base.model_dump() | ({} if name is None else {"name": name})
        for field, value in values.items():
            section, _, own = field.rpartition(".")
            tree[section][own] = value
        return recipe_of(tree, self.label)

    def as_dict(self) -> dict[str, Any]:
        """Return what decides the trials, as plain values."""
        fields = {name: options.model_dump() for name, options in self.fields.items()}
        return {"recipe": self.base.model_dump(), "space": fields}


def load_space(path: str | Path) -> Space:
    """Read a space from a YAML file.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        If it is not such a file, or as `space_of`.
    """
    try:
        tree = read_yaml(Path(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a YAML file with a space") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected recipe, trials and space, got {short(tree)}")
    return space_of(tree, str(path))


def space_of(tree: Mapping[str, Any], label: str = "the space") -> Space:
    """Return the space that plain values say.

    Parameters
    ----------
    tree : mapping
        ``space`` and, unless they are the default one and 100, ``recipe`` and ``trials``.
    label : str
        Where they come from, for messages.

    Raises
    ------
    InputError
        If the recipe, a field or a value is unknown or malformed. The ends of every range and all
        choices are tried, each in a recipe, so that no trial fails of them.

    Examples
    --------
    >>> space = space_of({"space": {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}}})
    >>> space.base.name, space.trials, space.recipe({"train.lr": 0.005}).train.lr
    ('tcn', 100, 0.005)
    """
    given = validated(_File, tree, label)
    base = load_recipe(given.recipe)
    fields = {name: _options(base, name, own, label) for name, own in given.space.items()}
    space = Space(label=label, base=base, trials=given.trials, fields=fields)
    for name, options in fields.items():
        ends = options.choices if isinstance(options, Choices) else [options.low, options.high]
        for value in ends:
            space.recipe({name: value})
    return space


def _options(base: Recipe, name: str, given: Any, label: str) -> Range | Choices:
    if name in REFUSED:
        raise InputError(f"{label}: {name} cannot be searched, for {REFUSED[name]}")
    check_names({name: str(given)}, label, kind=base.head.kind)
    place = f"{label}: {name}"
    if not isinstance(given, Mapping):
        raise InputError(
            f"{place} is {short(given)}; give {{low: ..., high: ...}} or {{choices: [...]}}"
        )
    if "choices" in given:
        return _choices(given, place)
    return _range(base, name, given, label)


def _choices(given: Mapping[str, Any], place: str) -> Choices:
    found = validated(Choices, given, place)
    for number, value in enumerate(found.choices):
        if not isinstance(value, bool | int | float | str | None):
            raise InputError(f"{place}: {short(value)} is no number, string, true, false or null")
        if value in found.choices[:number]:
            raise InputError(f"{place}: {short(value)} is among the choices twice; leave one out")
    return found


def _range(base: Recipe, name: str, given: Mapping[str, Any], label: str) -> Range:
    place = f"{label}: {name}"
    found = validated(Range, given, place)
    low, high, step = found.low, found.high, found.step
    if not low < high:
        raise InputError(f"{place}: low is {low:g} and high {high:g}; low must be the smaller one")
    if found.log and (low <= 0 or step is not None):
        what = f"low is {low:g}, and must be above 0" if low <= 0 else "step has no meaning"
        raise InputError(f"{place}: with log, {what}")
    if step is not None and (Fraction(str(high)) - Fraction(str(low))) % Fraction(str(step)):
        raise InputError(
            f"{place}: no number of steps of {step:g} leads from {low:g} to {high:g}; change one"
        )
    if float in (kinds := _kinds(base, name)):
        return found
    if not kinds:
        raise InputError(f"{place} takes no numbers; give {{choices: [...]}}")
    ends = {"low": low, "high": high, "step": 1.0 if step is None else step}
    for end, value in ends.items():
        if not value.is_integer():
            raise InputError(f"{place}: {end} is {value:g}, and the field takes integers")
    whole = {end: int(value) for end, value in ends.items()}
    return found.model_copy(update=whole if not found.log else whole | {"step": None})


def _kinds(base: Recipe, name: str) -> set[Any]:
    """Return which of int and float a field takes."""
    section, _, own = name.rpartition(".")
    waiting = [type(getattr(base, section)).model_fields[own].annotation]
    found: set[Any] = set()
    while waiting:
        annotation = waiting.pop()
        waiting += get_args(annotation)
        found |= {annotation} & {int, float} if isinstance(annotation, type) else set()
    return found
