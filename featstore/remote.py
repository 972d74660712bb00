"""Call a function of this installation in a worker process on any machine.

Workers import this module by name. The working folder of a worker may have its own `pipeline` and
`models`, so these are imported from this file's installation.
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
    """Call a function and return its pickled result, or its error message.

    Parameters
    ----------
    target : str
        ``package.module:function``, of this installation.
    payload : bytes
        Its only argument, pickled by the calling process. Both processes trust each other, like
        all members of a Dask cluster.

    Returns
    -------
    bytes
        Input of `result`.
    """
    name, _, function = target.partition(":")
    try:
        module = _own_module(name)
        outcome: Any = None, None, getattr(module, function)(pickle.loads(payload))  # noqa: S301
    except (errors.FeatstoreError, OSError) as error:
        kind = type(error).__name__ if isinstance(error, errors.FeatstoreError) else "InputError"
        outcome = kind, str(error), None
    return pickle.dumps(outcome)


def result(answer: bytes) -> Any:
    """Return the result of a remote call, in the calling process.

    Raises
    ------
    FeatstoreError
        If the function raised one.
    """
    kind, text, value = pickle.loads(answer)  # noqa: S301
    if kind is not None:
        raise getattr(errors, kind, errors.InputError)(text)
    return value


def _own_module(name: str) -> ModuleType:
    """Import a module of this installation, even if another one has its name."""
    if sys.path[:1] != [str(ROOT)]:
        sys.path.insert(0, str(ROOT))
    module = importlib.import_module(name)
    path = Path(module.__file__ or "")
    if not path.is_relative_to(ROOT):
        raise errors.InputError(
            f"A worker has loaded {path} instead of featstore's {name}; start workers in a folder "
            "without another module of that name."
        )
    return module
