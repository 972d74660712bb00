"""The search space of a sweep: a recipe and ranges of its fields, read from YAML and checked.

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
from pipeline.train.recipes.load import Recipe, check_names, load_recipe, recipe_of, validated
from pipeline.yaml_text import read_yaml, short

# Fields that have no effect, or that would make trials incomparable.
REFUSED = {
    "name": "it has no effect",
    "train.monitor": "trials are compared by it",
    "head.num_classes": "the store determines it",
    "head.kind": "every head has its own fields; run one sweep per head",
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Range(_Section):
    """Numbers from `low` to `high`, inclusive; integers if the field takes only integers.

    Attributes
    ----------
    low, high : float or int
    log : bool
        Sample uniformly on a log scale.
    step : float or int or None
        Restrict values to `low` plus multiples of `step`.
    """

    low: float
    high: float
    log: bool = False
    step: PositiveFloat | None = None


class Choices(_Section):
    """A list of values.

    Attributes
    ----------
    choices : list
        Numbers, strings, true, false or null.
    """

    choices: Annotated[list[Any], Field(min_length=2)]


class _File(_Section):
    recipe: str = "tcn"
    trials: PositiveInt = 100
    space: Annotated[dict[str, Any], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The search space of a sweep; created by `load_space` or `space_of`.

    Attributes
    ----------
    label : str
        The origin of the space, for messages.
    base : Recipe
        The recipe of the fields that are not searched.
    trials : int
        Number of trials.
    fields : mapping of str to Range or Choices
        Searched fields by their recipe names, such as ``train.lr``.
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
            The recipe's name; by default that of the base.

        Raises
        ------
        InputError
            If a value is invalid, or values conflict.
        """
        tree = self.base.model_dump() | ({} if name is None else {"name": name})
        for field, value in values.items():
            section, _, option = field.rpartition(".")
            tree[section][option] = value
        return recipe_of(tree, self.label)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings that determine the trials, as plain values."""
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
        If the file is missing or malformed; see also `space_of`.
    """
    try:
        tree = read_yaml(Path(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a YAML file with a space") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected recipe, trials and space, got {short(tree)}")
    return space_of(tree, str(path))


def space_of(tree: Mapping[str, Any], label: str = "the space") -> Space:
    """Return the space of plain values.

    Parameters
    ----------
    tree : mapping
        ``space``, and optionally ``recipe`` (by default the default recipe) and ``trials`` (100).
    label : str
        The origin of the values, for messages.

    Raises
    ------
    InputError
        If the recipe, a field or a value is unknown or malformed. The ends of every range and all
        choices are checked, each in a recipe, so that no trial fails on them.

    Examples
    --------
    >>> space = space_of({"space": {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}}})
    >>> space.base.name, space.trials, space.recipe({"train.lr": 0.005}).train.lr
    ('tcn', 100, 0.005)
    """
    file = validated(_File, tree, label)
    base = load_recipe(file.recipe)
    if base.mean_with:
        raise InputError(
            f"{label}: recipe {file.recipe} averages several recipes, and a sweep changes one; "
            "remove its mean_with"
        )
    fields = {name: _options(base, name, entry, label) for name, entry in file.space.items()}
    space = Space(label=label, base=base, trials=file.trials, fields=fields)
    for name, options in fields.items():
        ends = options.choices if isinstance(options, Choices) else [options.low, options.high]
        for value in ends:
            space.recipe({name: value})
    return space


def _options(base: Recipe, name: str, options: Any, label: str) -> Range | Choices:
    if name in REFUSED:
        raise InputError(f"{label}: {name} cannot be searched: {REFUSED[name]}")
    check_names({name: str(options)}, label, kind=base.head.kind)
    where = f"{label}: {name}"
    if not isinstance(options, Mapping):
        raise InputError(
            f"{where} is {short(options)}; give {{low: ..., high: ...}} or {{choices: [...]}}"
        )
    if "choices" in options:
        return _choices(options, where)
    return _range(base, name, options, label)


def _choices(options: Mapping[str, Any], where: str) -> Choices:
    choices = validated(Choices, options, where)
    for number, value in enumerate(choices.choices):
        if not isinstance(value, bool | int | float | str | None):
            raise InputError(
                f"{where}: {short(value)} is not a number, string, true, false or null"
            )
        if value in choices.choices[:number]:
            raise InputError(f"{where}: {short(value)} is among the choices twice; remove one")
    return choices


def _range(base: Recipe, name: str, options: Mapping[str, Any], label: str) -> Range:
    where = f"{label}: {name}"
    numbers = validated(Range, options, where)
    low, high, step = numbers.low, numbers.high, numbers.step
    if not low < high:
        raise InputError(f"{where}: low is {low:g} and high is {high:g}; low must be smaller")
    if numbers.log and (low <= 0 or step is not None):
        what = f"low is {low:g}, and must be above 0" if low <= 0 else "step has no meaning"
        raise InputError(f"{where}: with log, {what}")
    if step is not None and (Fraction(str(high)) - Fraction(str(low))) % Fraction(str(step)):
        raise InputError(
            f"{where}: high {high:g} is not low {low:g} plus multiples of step {step:g}; change one"
        )
    if float in (kinds := _kinds(base, name)):
        return numbers
    if not kinds:
        raise InputError(f"{where} does not take numbers; give {{choices: [...]}}")
    ends = {"low": low, "high": high, "step": 1.0 if step is None else step}
    for end, value in ends.items():
        if not value.is_integer():
            raise InputError(f"{where}: {end} is {value:g}, but the field takes integers")
    whole = {end: int(value) for end, value in ends.items()}
    return numbers.model_copy(update=whole if not numbers.log else whole | {"step": None})


def _kinds(base: Recipe, name: str) -> set[Any]:
    """Return the subset of int and float that a field takes."""
    section, _, option = name.rpartition(".")
    waiting = [type(getattr(base, section)).model_fields[option].annotation]
    kinds: set[Any] = set()
    while waiting:
        annotation = waiting.pop()
        waiting += get_args(annotation)
        kinds |= {annotation} & {int, float} if isinstance(annotation, type) else set()
    return kinds
