"""The one place where commands print."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from featstore.text import visible


def say(text: str, *, err: bool = False) -> None:
    """Print a text with its control characters shown and not sent, but for line breaks.

    A name from annotations or of a file could else move the cursor, hide what was printed or
    change the title of a window.

    Parameters
    ----------
    text : str
    err : bool
        On standard error.
    """
    _echo(visible(text, keep="\n"), err=err)


def say_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document. NaN becomes null, and a path its text."""
    _echo(json.dumps(_strict(document), ensure_ascii=True, allow_nan=False))


def written(folder: Path) -> str:
    """Return the line that names the reports in a folder."""
    return f"report {folder / 'report.html'} and report.md"


def log_for(as_json: bool) -> Callable[[str], None]:
    """Return what prints for people: on standard error where a program reads standard output."""
    return lambda line: say(line, err=as_json)


def _echo(text: str, *, err: bool = False) -> None:
    """Print, and end without a word where the reader has left, such as `head`."""
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        # What is still buffered is flushed at the end, and must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stderr if err else sys.stdout).fileno())
        sys.exit(1)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
