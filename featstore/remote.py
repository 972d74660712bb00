"""Calling a function of this installation in a worker process that may run anywhere.

Workers import this module by name. `pipeline` and `models` are names that the folder which a
worker was started in may have as well, so those are imported from where this file lies.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from featstore import errors

ROOT = Path(__file__).parent.parent


def call(target: str, payload: bytes) -> bytes:
    """Call a function and return what it returned, or the sentence that it ended with.

    Parameters
    ----------
    target : str
        ``package.module:function``, of this installation.
    payload : bytes
        Its one argument, pickled by the process that asks. Both processes trust each other, as
        everything does that takes part in one Dask cluster.

    Returns
    -------
    bytes
        For `result`.
    """
    name, _, function = target.partition(":")
    try:
        module = _own_module(name)
        found: Any = None, None, getattr(module, function)(pickle.loads(payload))  # noqa: S301
    except (errors.FeatstoreError, OSError) as error:
        kind = type(error).__name__ if isinstance(error, errors.FeatstoreError) else "InputError"
        found = kind, str(error), None
    return pickle.dumps(found)


def result(answer: bytes) -> Any:
    """Return what a function returned, in the process that asked.

    Raises
    ------
    FeatstoreError
        If the function ended with one.
    """
    kind, text, value = pickle.loads(answer)  # noqa: S301
    if kind is not None:
        raise getattr(errors, kind, errors.InputError)(text)
    return value


def _own_module(name: str) -> ModuleType:
    """Import a module of this installation, whatever else has its name."""
    if sys.path[:1] != [str(ROOT)]:
        sys.path.insert(0, str(ROOT))
    module = importlib.import_module(name)
    place = Path(module.__file__ or "")
    if not place.is_relative_to(ROOT):
        raise errors.InputError(
            f"A worker has {place} loaded where featstore's {name} should be; start workers where "
            "nothing else of that name is imported first."
        )
    return module
