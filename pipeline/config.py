"""Recipes: frozen, validated training configurations, read from YAML.

Adding an option takes one line here; the defaults are the plainest choice.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from featstore.errors import InputError

NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(_Section):
    """How clips enter the head.

    Attributes
    ----------
    steps : int or None
        Resample every clip to this many steps; None keeps each clip's own length.
    """

    steps: PositiveInt | None = None


class Head(_Section):
    """The temporal head; see `models.heads.RecurrentHead`.

    Attributes
    ----------
    num_classes : int or None
        Only checked, against the store's class list; None takes the store's word.
    """

    kind: Literal["recurrent"] = "recurrent"
    num_classes: PositiveInt | None = None
    cell: Literal["lstm", "gru"] = "lstm"
    bidirectional: bool = False
    hidden: PositiveInt = 256
    layers: PositiveInt = 1
    dropout: Share = 0.0
    input_norm: bool = False
    pool: Literal["last", "mean", "max", "attention"] = "last"


class Augment(_Section):
    """Changes to the training features.

    Attributes
    ----------
    noise : float
        Standard deviation of Gaussian noise, as a share of that of the batch's features.
    mixup : float
        Parameter of the Beta distribution of mixup; 0 turns it off.
    """

    noise: NotNegative = 0.0
    mixup: NotNegative = 0.0


class Train(_Section):
    """Optimisation.

    Attributes
    ----------
    epochs : int
        At most this many.
    min_epochs, patience : int
        Training ends after `patience` epochs in a row, all of them past `min_epochs`, in which
        `monitor` did not improve. With patience None, all epochs run.
    schedule : {"none", "plateau", "cosine"}
        Plateau halves the rate after 5 epochs without improvement; cosine falls to 0 at `epochs`.
    clip_norm : float or None
        Largest norm of the gradient.
    imbalance : {"none", "sampler", "class_weights", "focal"}
        The one strategy against unequal classes. One field, so that two cannot be combined.
    focal_gamma : float
        Only read with focal.
    monitor : str
        What is measured on val to choose the best epoch.
    """

    epochs: PositiveInt = 60
    min_epochs: Annotated[int, Field(ge=0)] = 10
    patience: PositiveInt | None = 15
    batch_size: PositiveInt = 32
    lr: PositiveFloat = 1e-3
    weight_decay: NotNegative = 0.0
    optimizer: Literal["adam", "adamw"] = "adam"
    schedule: Literal["none", "plateau", "cosine"] = "none"
    clip_norm: PositiveFloat | None = None
    label_smoothing: Share = 0.0
    imbalance: Literal["none", "sampler", "class_weights", "focal"] = "none"
    focal_gamma: NotNegative = 2.0
    monitor: Literal["mean_class_accuracy", "top1", "macro_f1", "weighted_f1", "loss"] = (
        "mean_class_accuracy"
    )


class Recipe(_Section):
    """A named training configuration."""

    name: str
    data: Data = Data()
    head: Head = Head()
    augment: Augment = Augment()
    train: Train = Train()


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name_or_path : str or Path
        The name of a recipe that comes with the project, or a YAML file.
    overrides : sequence of str
        ``section.field=value``, the value in YAML.

    Raises
    ------
    InputError
        If the recipe, a field or a value is unknown or malformed; the message names the field,
        the value and, where there is one, the nearest spelling.

    Examples
    --------
    >>> load_recipe("bilstm", ["train.lr=3e-4"]).train.lr
    0.0003
    """
    label, stem, text = _read(name_or_path)
    tree = _parse(text, label)
    if not isinstance(tree, dict):
        raise InputError(f"{label}: expected a mapping of sections, got {tree!r}")
    tree = {"name": stem, **tree}
    _check_names(tree, label)
    for override in overrides:
        _override(tree, override)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{label}: {'; '.join(map(_sentence, error.errors()))}") from None


def recipe_names() -> list[str]:
    """Names of the recipes that come with the project.

    Examples
    --------
    >>> recipe_names()
    ['baseline', 'bilstm']
    """
    files = resources.files("pipeline.recipes").iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".yaml"))


class _Loader(yaml.SafeLoader):
    """YAML in which 3e-4 is a number; YAML 1.1 asks for 3.0e-4 and reads a string otherwise."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _read(name_or_path: str | Path) -> tuple[str, str, str]:
    """Return how to call the recipe in messages, its name, and its text."""
    names = recipe_names()
    if str(name_or_path) in names:
        file = resources.files("pipeline.recipes") / f"{name_or_path}.yaml"
        return f"recipe {name_or_path}", str(name_or_path), file.read_text("utf-8")
    path = Path(name_or_path)
    if not path.is_file():
        raise InputError(
            f"recipe {str(name_or_path)!r}: neither a file nor one of {', '.join(names)}"
            + _nearest(str(name_or_path), names)
        )
    try:
        return str(path), path.stem, path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path}: cannot be read as text ({error})") from None


def _parse(text: str, label: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise InputError(f"{label}: not YAML ({' '.join(str(error).split())})") from None


def _override(tree: dict[str, Any], override: str) -> None:
    """Set one value in `tree` from ``section.field=value``."""
    label = f"--set {override}"
    name, equals, text = override.partition("=")
    name = name.strip()
    if not equals or not name:
        raise InputError(f"{label}: expected section.field=value, as in train.lr=3e-4")
    value = _parse(text, label)
    if isinstance(value, Mapping):
        raise InputError(f"{label}: set one field at a time, as in train.lr=3e-4")
    _check_names({name: value}, label)
    section, _, field = name.rpartition(".")
    if section:
        tree[section] = {**tree.get(section, {}), field: value}
    else:
        tree[field] = value


def _check_names(tree: Mapping[str, Any], label: str) -> None:
    """Refuse fields that no recipe has, before their values are looked at."""
    known = list(_leaves(Recipe(name="").model_dump()))
    sections = {name.split(".")[0] for name, _ in known if "." in name}
    names = [name for name, _ in known]
    for name, value in _leaves(tree):
        if name in sections:
            raise InputError(f"{label}: {name} = {value!r}, but {name} is a section of fields")
        if name not in names:
            near = _nearest(name, names) or _nearest(name.split(".")[-1], names)
            raise InputError(f"{label}: unknown field {name} (= {value!r}){near}")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _sentence(error: Any) -> str:
    """Say one error of pydantic's with the field, the value and the nearest spelling."""
    # A literal or an optional type adds parts of its own to the place; names have two at most.
    name = ".".join(str(part) for part in error["loc"][:2])
    hint = ""
    if error["type"] == "literal_error":
        hint = _nearest(str(error["input"]), re.findall(r"'(\w+)'", error["ctx"]["expected"]))
    return f"{name} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}{hint}"


def _nearest(word: str, known: Sequence[str]) -> str:
    """Suggest the nearest of `known`; a bare field name also finds its dotted one."""
    by_last = {name.split(".")[-1]: name for name in known}
    near = difflib.get_close_matches(word, known, n=1) or [
        by_last[last] for last in difflib.get_close_matches(word, by_last, n=1)
    ]
    return f"; did you mean {near[0]}?" if near else ""
