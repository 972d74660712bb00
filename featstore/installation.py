"""Call this installation's `pipeline` from a program that may have packages of the same name.

A notebook's folder often has its own ``models/`` or ``pipeline/``. During a call, the names mean
featstore's packages; before and after, they mean the caller's.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

from featstore.errors import MissingPackageError
from featstore.extras import missing_packages

ROOT = str(Path(__file__).parent.parent)
PACKAGES = ("pipeline", "models")
_lock = RLock()
_modules: dict[str, ModuleType] = {}
_depth = 0


def call(target: str, *arguments: Any, **options: Any) -> Any:
    """Call ``package.module:function`` of this installation.

    The names are swapped only during the call. Meanwhile, other threads must not import the
    caller's `models` or `pipeline`.

    Raises
    ------
    MissingPackageError
        If it needs a package that is not installed.
    """
    name, _, function = target.partition(":")
    with _own_packages():
        try:
            return getattr(importlib.import_module(name), function)(*arguments, **options)
        except ModuleNotFoundError as error:
            sentence = missing_packages(function, error)
            if sentence is None:
                raise
            raise MissingPackageError(sentence) from error


@contextmanager
def _own_packages() -> Iterator[None]:
    """Make the names in `PACKAGES` refer to the packages next to this one."""
    global _depth
    with _lock:
        if _depth or _are_ours(_taken()):
            _depth += 1
            try:
                yield
            finally:
                _depth -= 1
            return
        theirs = _take()
        sys.modules.update(_modules)
        sys.path.insert(0, ROOT)
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            sys.path.remove(ROOT)
            _modules.update(_take())
            sys.modules.update(theirs)


def _are_ours(modules: dict[str, ModuleType]) -> bool:
    """Tell whether featstore's packages are already loaded, as in the command line."""
    return PACKAGES[0] in modules and all(
        str(module.__file__ or ROOT).startswith(ROOT) for module in modules.values()
    )


def _taken() -> dict[str, ModuleType]:
    return {
        name: module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in PACKAGES
    }


def _take() -> dict[str, ModuleType]:
    modules = _taken()
    for name in modules:
        del sys.modules[name]
    return modules
