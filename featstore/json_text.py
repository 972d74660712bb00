"""Read JSON that somebody may have edited: limits on size and depth, one kind of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 2**28
MOST_DEPTH = 64


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says.

    Parameters
    ----------
    text : str or bytes

    Raises
    ------
    ValueError
        If it is not JSON, is larger or deeper than what this project writes, or has text that is
        no Unicode.

    Examples
    --------
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
        ...
    ValueError: nested more than 64 deep
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"{len(text)} bytes; at most {MOST_BYTES} are read")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"nested more than {MOST_DEPTH} deep") from None
    _check_depth(value)
    if (b"\\ud" if isinstance(text, bytes) else "\\ud") in text.lower():  # type: ignore[operator]
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be shown
    return value


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Return what a JSON object says.

    Raises
    ------
    ValueError
        As `parse_json`, or if it is no object.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, and this is a {type(value).__name__}")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """Return what the JSON object in a file says.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        As `parse_object`.
    """
    with path.open("rb") as stream:
        return parse_object(stream.read(MOST_BYTES + 1))


def _check_depth(value: Any) -> None:
    """Refuse what functions that call themselves could not walk."""
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
