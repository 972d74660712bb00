"""Readers of annotations. To add one, add a module here with one `Source` subclass."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from pipeline.sources.base import Annotation, Dataset, Source

__all__ = ["Annotation", "Dataset", "Source", "sources"]


def sources() -> dict[str, type[Source]]:
    """Return all sources of this package by name, in alphabetical order.

    Examples
    --------
    >>> list(sources())
    ['boris', 'driveact', 'folders', 'lists', 'openlabel', 'table']
    """
    by_name: dict[str, type[Source]] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, Source) and not inspect.isabstract(cls):
                by_name[cls.name] = cls
    return dict(sorted(by_name.items()))
