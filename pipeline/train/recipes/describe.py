"""What recipes and their fields mean, from docstrings and from the recipes' own files."""

from __future__ import annotations

import inspect
import re
from importlib import resources
from typing import Any, NamedTuple

from pydantic import BaseModel

from pipeline.train.recipes.fields import Recipe, head_section
from pipeline.train.recipes.load import load_recipe, recipe_names
from pipeline.train.recipes.portfolio import AUTO, load_portfolio

_ENTRY = re.compile(r"^(\w[\w, ]*?)(?: : .*)?$")


class FieldMeaning(NamedTuple):
    """One field of a recipe.

    Attributes
    ----------
    name : str
        As ``--set`` takes it, such as ``train.lr``.
    value, default
        In this recipe, and in one that does not name the field.
    meaning : str
        The first sentence of its documentation; empty where there is none.
    """

    name: str
    value: Any
    default: Any
    meaning: str


def summaries() -> list[dict[str, str]]:
    """Return the portfolio, and every recipe with its head and the first sentence of its file."""
    folder = resources.files("pipeline.train.recipes")
    count = len(candidates())
    portfolio = f"The default: val chooses one of {count} candidates, made of the recipes below."
    return [{"recipe": AUTO, "head": "several", "about": portfolio}] + [
        {
            "recipe": name,
            "head": load_recipe(name).head.kind,
            "about": first_sentence(_comment((folder / f"{name}.yaml").read_text("utf-8"))),
        }
        for name in recipe_names()
    ]


def candidates() -> list[dict[str, str]]:
    """Return the candidates of the portfolio, the simplest first."""
    return [
        {
            "candidate": recipe.name,
            "head": recipe.head.kind,
            "standardise": recipe.data.standardise,
        }
        for recipe in load_portfolio().recipes
    ]


def fields_of(recipe: Recipe) -> list[FieldMeaning]:
    """Return every field of a recipe, in the order of its sections."""
    from models.heads import HEADS

    kind = recipe.head.kind
    defaults: dict[str, BaseModel] = {
        name: head_section(kind)() if name == "head" else type(section)()
        for name, section in recipe
        if isinstance(section, BaseModel)
    }
    found = []
    for section, default in defaults.items():
        values = getattr(recipe, section)
        meanings = documented(type(default).__mro__[1] if section == "head" else type(default))
        if section == "head":
            meanings |= documented(HEADS[kind])
        found += [
            FieldMeaning(f"{section}.{name}", getattr(values, name), value, meanings.get(name, ""))
            for name, value in default
        ]
    return found


def documented(cls: type) -> dict[str, str]:
    """Return the first sentence on each parameter or attribute in a class's numpydoc.

    Examples
    --------
    >>> documented(FieldMeaning)["name"]
    'As --set takes it, such as train.lr.'
    """
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    rules = [i for i, line in enumerate(lines) if line and set(line) == {"-"}]
    texts: dict[str, list[str]] = {}
    for rule, end in zip(rules, [*(i - 1 for i in rules[1:]), len(lines)], strict=True):
        if lines[rule - 1] not in ("Attributes", "Parameters"):
            continue
        names: list[str] = []
        for line in lines[rule + 1 : end]:
            if line.startswith(" "):
                for name in names:
                    texts.setdefault(name, []).append(line.strip())
            elif entry := _ENTRY.match(line):
                names = [name.strip() for name in entry[1].split(",")]
    return {name: first_sentence(" ".join(text)) for name, text in texts.items()}


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop, colon or semicolon, without markup.

    Examples
    --------
    >>> first_sentence("Smallest share of steps; 1 turns it off.")
    'Smallest share of steps; 1 turns it off.'
    """
    plain = text.replace("`", "").strip()
    end = re.search(r"\.(?= |$)", plain)
    return plain[: end.end()] if end else plain


def _comment(text: str) -> str:
    """Return the comment at the top of a YAML file."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)
