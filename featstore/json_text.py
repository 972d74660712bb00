"""Parse untrusted JSON: with limits on size and depth, and one kind of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 2**28
MOST_DEPTH = 64


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    text : str or bytes

    Raises
    ------
    ValueError
        If it is not JSON, exceeds the limits on size or depth, or has invalid Unicode.

    Examples
    --------
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
        ...
    ValueError: nested more than 64 deep
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"{len(text)} bytes; the limit is {MOST_BYTES}")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"nested more than {MOST_DEPTH} deep") from None
    _check_depth(value)
    if (b"\\ud" if isinstance(text, bytes) else "\\ud") in text.lower():  # type: ignore[operator]
        json.dumps(value, ensure_ascii=False).encode()  # refuse lone surrogates
    return value


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Return the content of a JSON object.

    Raises
    ------
    ValueError
        As for `parse_json`, or if it is not an object.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got a {type(value).__name__}")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """Return the content of the JSON object in a file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        As for `parse_object`.
    """
    with path.open("rb") as stream:
        return parse_object(stream.read(MOST_BYTES + 1))


def _check_depth(value: Any) -> None:
    """Refuse values that are too deep for recursive functions."""
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise ValueError(f"nested more than {MOST_DEPTH} deep")
