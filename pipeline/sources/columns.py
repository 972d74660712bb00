"""Columns of a table that nobody reads: refused where they mean an interval, else named."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from pathlib import Path

from featstore.errors import InputError
from pipeline.sources.labels import listing

_BEFORE = r"(?:time|frame|clip|segment|event|action|t)*"
_AFTER = r"(?:time|timestamp|stamp|frame|index|idx|seconds|second|secs|sec|s|ms|number|no|nr)*"
_BEGIN = re.compile(rf"{_BEFORE}(?:start|starts|begin|begins|beginning|onset|from|t0|tmin){_AFTER}")
_END = re.compile(
    rf"{_BEFORE}(?:end|ends|ending|stop|stops|finish|finishes|offset|to|until|till|t1|tmax){_AFTER}"
)


def check_interval_columns(table: Path, columns: Collection[str], end: str) -> None:
    """Refuse a table that names the interval of its clips otherwise, or only one end of it.

    Parameters
    ----------
    table : Path
    columns : collection of str
    end : str
        What the column is called that ends the interval ``[start, end)``.

    Raises
    ------
    InputError
    """
    for proper, meaning in (("start", _BEGIN), (end, _END)):
        for column in () if proper in columns else columns:
            if meaning.fullmatch(re.sub(r"[^a-z0-9]", "", column)):
                raise InputError(
                    f'{table} has a column "{column}" but none called "{proper}": rename it to '
                    f"{proper}, or remove it for whole videos; a clip ends before its {end}"
                )
    for column, other in (("start", end), (end, "start")):
        if column in columns and other not in columns:
            raise InputError(
                f'{table} has a column "{column}" but no column "{other}"; add it, '
                "or remove both for whole videos"
            )


def unused_columns(
    columns: Collection[str], used: Collection[str], optional: Collection[str]
) -> list[str]:
    """Return notes on columns that nobody reads, and on those that may be a misspelt one.

    Parameters
    ----------
    columns : collection of str
    used : collection of str
        What a table may have.
    optional : collection of str
        Those of them that a table may lack.
    """
    notes = []
    others = [column for column in columns if column not in used]
    for wanted in optional:
        close = [
            column
            for column in others
            if wanted in column.split("_")
            or difflib.get_close_matches(wanted, [column], cutoff=0.8)
        ]
        if close and wanted not in columns:
            notes.append(f'Column "{close[0]}" is not used; rename it if it is "{wanted}".')
            others.remove(close[0])
    if others:
        notes.append(f"Columns that are not used: {listing(others)}.")
    return notes
