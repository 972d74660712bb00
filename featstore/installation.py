"""Calls into this installation's `pipeline` from a program that may have packages of that name.

A notebook often stands in a folder with its own ``models/`` or ``pipeline/``. During a call the
names mean featstore's packages; before and after it they mean the caller's.
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

ROOT = str(Path(__file__).parent.parent)
PACKAGES = ("pipeline", "models")
_lock = RLock()
_modules: dict[str, ModuleType] = {}
_depth = 0


def call(target: str, *arguments: Any, **options: Any) -> Any:
    """Call ``package.module:function`` of this installation.

    Only names are swapped, and only while the call runs. Threads of the caller must not import
    their own `models` or `pipeline` meanwhile.
    """
    name, _, function = target.partition(":")
    with _own_packages():
        return getattr(importlib.import_module(name), function)(*arguments, **options)


@contextmanager
def _own_packages() -> Iterator[None]:
    """Let the names in `PACKAGES` mean the packages beside this one."""
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
    """Tell whether featstore's packages are loaded already, as in the command line."""
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
