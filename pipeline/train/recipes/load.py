"""Read recipes from YAML and check them field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from featstore.errors import InputError
from featstore.text import nearest_name
from pipeline.train.recipes.fields import Augment, Data, Head, Recipe, Train, head_section
from pipeline.yaml_text import parse_yaml, read_yaml, short

__all__ = ["Augment", "Data", "Head", "Recipe", "Train", "load_recipe", "recipe_names", "recipe_of"]

Section = TypeVar("Section", bound=BaseModel)


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe, with overrides applied.

    Parameters
    ----------
    name_or_path : str or Path
        The name of a built-in recipe, or a YAML file.
    overrides : sequence of str
        ``section.field=value``, with the value in YAML. A new ``head.kind`` starts from the
        defaults of that head; the recipe's head fields are dropped.

    Raises
    ------
    InputError
        If the recipe, a field or a value is unknown or malformed. The message names the field,
        the value and, if there is one, the nearest spelling.

    Examples
    --------
    >>> load_recipe("bilstm", ["train.lr=3e-4"]).train.lr
    0.0003
    """
    label, stem, tree = _read(name_or_path)
    if not isinstance(tree, dict):
        raise InputError(f"{label}: expected a mapping of sections, got {short(tree)}")
    tree = {"name": stem, **tree}
    check_names(tree, label)
    for override in sorted(overrides, key=lambda text: not text.strip().startswith("head.kind")):
        _override(tree, override)
    return recipe_of(tree, label)


def recipe_of(tree: Mapping[str, Any], label: str) -> Recipe:
    """Return the recipe of plain values, such as those in the ``config.yaml`` of a run.

    Parameters
    ----------
    tree : mapping
    label : str
        The origin of the values, for messages.

    Raises
    ------
    InputError
        See `load_recipe`.
    """
    kind = _kind(tree, label)
    head = validated(head_section(kind), tree.get("head", {}), label, "head")
    _check_together(head, label)
    others = tuple(_others(tree, label))
    recipe = validated(Recipe, {**tree, "head": head, "mean_with": others}, label)
    for other in others:
        if (other.data, other.train.folds) != (recipe.data, recipe.train.folds):
            raise InputError(
                f"{label}: mean_with: {other.name} has other data or train.folds than "
                f"{recipe.name}; make them equal"
            )
    return recipe


def _others(tree: Mapping[str, Any], label: str) -> Iterator[Recipe]:
    """Yield the recipes under ``mean_with``."""
    others = tree.get("mean_with") or ()
    if not isinstance(others, Sequence) or not all(isinstance(one, Mapping) for one in others):
        raise InputError(f"{label}: mean_with = {short(others)}: expected a list of recipes")
    for number, other in enumerate(others, 1):
        name = f"{label}: mean_with {number}"
        if other.get("mean_with"):
            raise InputError(f"{name} has a mean_with too; list its recipes in the first one")
        named = {"name": f"recipe {number}", **other}
        check_names(named, name)
        yield recipe_of(named, name)


def recipe_names() -> list[str]:
    """Return the names of the built-in recipes.

    Examples
    --------
    >>> recipe_names()[:5]
    ['attentive', 'baseline', 'bilstm', 'linear', 'mlp']
    """
    files = resources.files("pipeline.train.recipes").iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".yaml"))


def _read(name_or_path: str | Path) -> tuple[str, str, Any]:
    """Return the recipe's label for messages, its name, and the content of its YAML."""
    names = recipe_names()
    if str(name_or_path) in names:
        file = resources.files("pipeline.train.recipes") / f"{name_or_path}.yaml"
        label = f"recipe {name_or_path}"
        return label, str(name_or_path), parse_yaml(file.read_text("utf-8"), label)
    path = Path(name_or_path)
    if not path.is_file():
        raise InputError(
            f"recipe {str(name_or_path)!r}: neither a file nor one of {', '.join(names)}"
            + _nearest(str(name_or_path), names)
        )
    return str(path), path.stem, read_yaml(path)


def _override(tree: dict[str, Any], override: str) -> None:
    """Set one value in `tree` from ``section.field=value``."""
    label = f"--set {override}"
    name, equals, text = override.partition("=")
    name = name.strip()
    if not equals or not name:
        raise InputError(f"{label}: expected section.field=value, as in train.lr=3e-4")
    value = parse_yaml(text, label)
    if isinstance(value, Mapping):
        raise InputError(f"{label}: set one field at a time, as in train.lr=3e-4")
    section, _, field = name.rpartition(".")
    if name == "head.kind" and value != _kind(tree, label):
        num_classes = tree.get("head", {}).get("num_classes")
        tree["head"] = {"kind": value, "num_classes": num_classes}
    check_names({name: value}, label, kind=_kind(tree, label))
    if section:
        tree[section] = {**tree.get(section, {}), field: value}
    else:
        tree[field] = value


def _kind(tree: Mapping[str, Any], label: str) -> str:
    """Return the kind of a recipe's head.

    Raises
    ------
    InputError
        If the kind is unknown.
    """
    from models.heads import HEADS

    head = tree.get("head")
    kind = head.get("kind", "recurrent") if isinstance(head, Mapping) else "recurrent"
    if not isinstance(kind, str) or kind not in HEADS:
        kinds = list(HEADS)
        raise InputError(
            f"{label}: head.kind = {short(kind)}: known are {', '.join(kinds)}"
            + _nearest(str(kind), kinds)
        )
    return kind


def check_names(tree: Mapping[str, Any], label: str, *, kind: str | None = None) -> None:
    """Raise if a field is unknown to recipes with this head; values are checked later.

    Raises
    ------
    InputError
    """
    kind = kind or _kind(tree, label)
    leaves = list(_leaves(Recipe(name="", head=head_section(kind)()).model_dump()))
    sections = {name.split(".")[0] for name, _ in leaves if "." in name}
    names = [*(name for name, _ in leaves), "mean_with"]
    for name, value in _leaves(tree):
        if name in sections:
            raise InputError(f"{label}: {name} = {short(value)}, but {name} is a section of fields")
        if name not in names:
            near = _nearest(name, names) or _nearest(name.split(".")[-1], names)
            of = f" of a {kind} head" if name.startswith("head.") else ""
            raise InputError(f"{label}: unknown field {name} (= {short(value)}){of}{near}")


def _check_together(head: Head, label: str) -> None:
    """Raise if a head's options conflict, by building the head."""
    import torch

    from models.heads import build_head

    try:
        with torch.random.fork_rng([]):
            build_head(features=1, classes=1, **head.model_dump(exclude={"num_classes"}))
    except ValueError as error:
        raise InputError(f"{label}: head.{error}") from None
    except RuntimeError as error:  # from torch: out of memory, or a size beyond int64
        raise InputError(f"{label}: the head is too large ({error})") from None


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def validated(model: type[Section], tree: Mapping[str, Any], label: str, *sections: str) -> Section:
    """Validate the fields under some sections and return the model.

    Raises
    ------
    InputError
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        sentences = "; ".join(_sentence(item, sections) for item in error.errors())
        raise InputError(f"{label}: {sentences}") from None


def _sentence(error: Any, sections: tuple[str, ...]) -> str:
    """Return pydantic's error as a sentence with the field, the value and the nearest spelling."""
    # A literal or optional type adds parts to the location; names have two at most.
    name = ".".join(str(part) for part in (*sections, *error["loc"])[:2])
    hint = ""
    if error["type"] == "literal_error":
        hint = _nearest(str(error["input"]), re.findall(r"'(\w+)'", error["ctx"]["expected"]))
    return f"{name} = {short(error['input'])}: {error['msg'][0].lower()}{error['msg'][1:]}{hint}"


def _nearest(word: str, words: Sequence[str]) -> str:
    """Return a hint with the nearest word; a bare field name also matches its dotted name."""
    by_last = {name.split(".")[-1]: name for name in words}
    near = nearest_name(word, words) or by_last.get(nearest_name(word, by_last), "")
    return f"; did you mean {near}?" if near else ""
