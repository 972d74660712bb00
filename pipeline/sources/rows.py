"""Read text files and CSV tables from editors, spreadsheets and pandas."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import InputError
from featstore.text import nearest_name
from pipeline.sources.names import normal

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_LINE_END = re.compile("\r\n|\r|\n")
# Excel reads and writes the separator in a separate first line.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV file, with its position.

    Attributes
    ----------
    file : Path
    number : int
        The first line of the row in the file, from 1, as in editors.
    cells : dict of str to str
        Values by lower-case column name, both stripped.
    """

    file: Path
    number: int
    cells: dict[str, str]

    @property
    def where(self) -> str:
        """The file and row, for the start of a message."""
        return f"{self.file} row {self.number}"

    def text(self, column: str) -> str:
        """Return the value of `column`, which must not be empty."""
        if not self.cells[column]:
            raise InputError(f'{self.where}: column "{column}" is empty; fill it in')
        return self.cells[column]

    def number_in(self, column: str) -> float:
        """Return the value of `column` as a finite number."""
        value = self.text(column)
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not abs(number) < float("inf"):
            remedy = "write a decimal point" if _DECIMAL_COMMA.fullmatch(value) else "correct it"
            raise InputError(f'{self.where}: {column} "{value}" is not a number; {remedy}')
        return number

    def whole_number_in(self, column: str, remedy: str = "correct it") -> int:
        """Return the value of `column` as an integer; ``12.0`` is allowed."""
        number = self.number_in(column)
        if not number.is_integer():
            raise InputError(f"{self.where}: {column} {number} is not a whole number; {remedy}")
        return int(number)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, or UTF-16 with byte order mark, in Unicode's form C.

    Raises
    ------
    InputError
        If it is missing, unreadable, empty or in another encoding.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
    if data.startswith(_WORKBOOKS):
        raise InputError(f"{path} is a workbook or an archive; save the sheet as CSV UTF-8")
    try:
        text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{path} is not UTF-8 text (byte 0x{byte:02x} at offset {error.start}); "
            "save it again as UTF-8"
        ) from None
    if "\0" in text:
        raise InputError(
            f"{path} is not UTF-8 text: it holds NUL bytes, as UTF-16 does; save it again as UTF-8"
        )
    if not text.strip():
        raise InputError(f"{path} is empty; it must hold at least one line of text")
    return normal(text)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the non-blank lines of a text file, with their numbers from 1."""
    lines = enumerate(_LINE_END.split(read_text(path)), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_table(path: Path, required: Sequence[str], *, strip: bool = True) -> list[Row]:
    """Return the rows of a CSV file with a header; skip blank rows.

    Skip unnamed columns if they are empty, or if they come first, like an index from pandas.

    Parameters
    ----------
    path : Path
        Separated by commas, semicolons or tabs: by the most frequent one in the header, or as a
        first line ``sep=;`` states.
    required : sequence of str
        Required columns.
    strip : bool
        Strip the whitespace around values.

    Raises
    ------
    InputError
        If the file cannot be read, has no rows, lacks a column, or a row has another length.
    """
    records = _records(path, read_text(path), strip=strip)
    header = [name.casefold() for name in records[0][1]]
    _check_columns(path, [name for name in header if name], required)
    rows = [_row(path, number, header, cells) for number, cells in records[1:]]
    if not rows:
        raise InputError(f"{path} has a header but no rows; add one row per clip")
    return rows


def _records(path: Path, text: str, *, strip: bool) -> list[tuple[int, list[str]]]:
    """Return the non-blank records, each with its first line number."""
    separator, skipped = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records, line = [], 1
    try:
        for record in reader:
            cells = [cell.strip() if strip else cell for cell in record]
            if any(map(str.strip, cells)) and line > skipped:
                records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path} row {line} is not CSV ({error}); correct it") from None
    if not records:
        raise InputError(f"{path} has no header; its first row must name the columns")
    return records


def _separator(text: str) -> tuple[str, int]:
    """Return the cell separator, and the number of the ``sep=`` line, 0 without one."""
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if match := _SEPARATOR_LINE.fullmatch(line):
            return match[1], number
        if line.strip(" ,;\t"):
            return max(",;\t", key=line.count), 0
    return ",", 0


def _row(path: Path, number: int, header: Sequence[str], cells: list[str]) -> Row:
    named = max(position for position, name in enumerate(header, start=1) if name)
    more = any(cells[len(header) :])
    if len(cells) < named or more:
        raise InputError(
            f"{path} row {number} has {len(cells)} values where the header has "
            f"{len(header)} columns; "
            + ("remove or quote the extra values" if more else "complete the row")
        )
    for position, (name, cell) in enumerate(zip(header, cells, strict=False)):
        if cell and not name and position:
            raise InputError(
                f'{path} row {number} has "{cell}" in column {position + 1}, which has no name; '
                "name the column in the header, or empty it"
            )
    return Row(
        path, number, {name: cell for name, cell in zip(header, cells, strict=False) if name}
    )


def _check_columns(path: Path, columns: list[str], required: Sequence[str]) -> None:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f'{path} has the column "{twice[0]}" twice; rename one of them')
    for name in required:
        if name not in columns:
            near = nearest_name(name, columns)
            hint = f'the nearest is "{near}": rename or add it' if near else "add it"
            raise InputError(f'{path} has no column "{name}"; {hint}')
