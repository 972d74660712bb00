"""Check the unused columns of a table: refuse misnamed intervals, and report the others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from featstore.errors import InputError
from pipeline.sources.labels import listing
from pipeline.sources.rows import Row

_BEFORE = r"(?:time|frame|clip|segment|event|action|t)*"
_AFTER = r"(?:time|timestamp|stamp|frame|index|idx|seconds|second|secs|sec|s|ms|number|no|nr)*"
_BEGIN = re.compile(rf"{_BEFORE}(?:start|starts|begin|begins|beginning|onset|from|t0|tmin){_AFTER}")
_END = re.compile(
    rf"{_BEFORE}(?:end|ends|ending|stop|stops|finish|finishes|offset|to|until|till|t1|tmax){_AFTER}"
)


def check_interval_columns(table: Path, columns: Collection[str], end: str) -> None:
    """Refuse a table with misnamed or incomplete interval columns.

    Parameters
    ----------
    table : Path
    columns : collection of str
    end : str
        Name of the column with the end of the interval ``[start, end)``.

    Raises
    ------
    InputError
    """
    for proper, meaning in (("start", _BEGIN), (end, _END)):
        for column in () if proper in columns else columns:
            if meaning.fullmatch(re.sub(r"[^a-z0-9]", "", column)):
                raise InputError(
                    f'{table} has a column "{column}" but no column "{proper}"; rename it to '
                    f"{proper}, or remove it for whole videos. The {end} of a clip is exclusive"
                )
    for column, other in (("start", end), (end, "start")):
        if column in columns and other not in columns:
            raise InputError(
                f'{table} has a column "{column}" but no column "{other}"; add it, '
                "or remove both for whole videos"
            )


def with_column(row: Row, name: str, other: str) -> Row:
    """Return a row whose column `other`, if it has one, is called `name`.

    Raises
    ------
    InputError
        If it has both.
    """
    if other not in row.cells:
        return row
    if name in row.cells:
        raise InputError(f'{row.file} has the columns "{name}" and "{other}"; remove one of them')
    cells = {name if column == other else column: cell for column, cell in row.cells.items()}
    return replace(row, cells=cells)


def unused_columns(
    columns: Collection[str], used: Collection[str], optional: Collection[str]
) -> list[str]:
    """Return notes on unused columns, including possible misspellings.

    Parameters
    ----------
    columns : collection of str
    used : collection of str
        The columns that a table may have.
    optional : collection of str
        The optional ones of `used`.
    """
    notes = []
    others = [column for column in columns if column not in used]
    for name in optional:
        close = [
            column
            for column in others
            if name in column.split("_") or difflib.get_close_matches(name, [column], cutoff=0.8)
        ]
        if close and name not in columns:
            notes.append(f'Column "{close[0]}" is not used; rename it if it is "{name}".')
            others.remove(close[0])
    if others:
        notes.append(f"Columns that are not used: {listing(others)}.")
    return notes
