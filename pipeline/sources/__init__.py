"""Readers of annotations. Adding one takes one module here that holds one `Source`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from pipeline.sources.base import Annotation, Dataset, Source

__all__ = ["Annotation", "Dataset", "Source", "sources"]


def sources() -> dict[str, type[Source]]:
    """Every source of this package by name, in alphabetical order.

    Examples
    --------
    >>> list(sources())
    ['driveact', 'folders', 'lists', 'table']
    """
    found: dict[str, type[Source]] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, Source) and not inspect.isabstract(cls):
                found[cls.name] = cls
    return dict(sorted(found.items()))
