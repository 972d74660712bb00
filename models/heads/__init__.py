"""Temporal heads: map the features of a clip's steps to one logit per class.

To add a head, add a module with one subclass of `Head`. The module's name is the head's kind in
recipes, and the keyword-only arguments of the class are its recipe fields.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from models.heads.base import Head, HeadOutput
from models.heads.recurrent import RecurrentHead

__all__ = ["HEADS", "Head", "HeadOutput", "RecurrentHead", "build_head"]


def _found() -> Iterator[tuple[str, type[Head]]]:
    for entry in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        for member in vars(module).values():
            if not isinstance(member, type) or member.__module__ != module.__name__:
                continue
            if issubclass(member, Head) and member is not Head:
                yield entry.name, member


HEADS: dict[str, type[Head]] = dict(_found())


def build_head(kind: str, features: int, classes: int, *, places: int = 1, **options: Any) -> Head:
    """Return a new head of a kind.

    Parameters
    ----------
    kind : str
        A key of `HEADS`.
    features, classes : int
        Length of a step's vector, number of classes.
    places : int
        Vectors of one length that a step's vector is made of. Heads that do not attend to places
        take it as one vector.
    **options
        Passed to the head's class.

    Raises
    ------
    ValueError
        If the kind is unknown, or the options contradict each other.
    """
    if kind not in HEADS:
        raise ValueError(f"head {kind!r} is unknown; choose from {', '.join(HEADS)}")
    if HEADS[kind].attends_to_places:
        options["places"] = places
    return HEADS[kind](features, classes, **options)
