"""Reading annotation files and naming videos; no video is opened here."""

from __future__ import annotations

import csv
import difflib
import io
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import InputError

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".webm", ".wmv", ".y4m",
))
# fmt: on
# Left in folders by operating systems, as are names that begin with a dot. @eaDir holds thumbnails.
LEFT_BY_SYSTEMS = frozenset(("@eadir", "__macosx", "desktop.ini", "thumbs.db"))
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))

_UCF101 = re.compile(r"v_.+_(g\d+)_c\d+")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV file, knowing where it stands.

    Attributes
    ----------
    file : Path
    number : int
        As editors and spreadsheets count: the header is row 1.
    cells : dict of str to str
        Lower-case column names to values, both without surrounding whitespace.
    """

    file: Path
    number: int
    cells: dict[str, str]

    @property
    def where(self) -> str:
        """File and row, to start a message with."""
        return f"{self.file} row {self.number}"

    def text(self, column: str) -> str:
        """Value of `column`, which must not be empty."""
        if not self.cells[column]:
            raise InputError(f'{self.where}: column "{column}" is empty; fill it in')
        return self.cells[column]

    def number_in(self, column: str) -> float:
        """Value of `column` as a finite number."""
        value = self.text(column)
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not abs(number) < float("inf"):
            raise InputError(f'{self.where}: {column} "{value}" is not a number; correct it')
        return number

    def whole_number_in(self, column: str, remedy: str = "correct it") -> int:
        """Value of `column` as an integer; ``12.0`` is one."""
        number = self.number_in(column)
        if not number.is_integer():
            raise InputError(f"{self.where}: {column} {number} is not a whole number; {remedy}")
        return int(number)


def read_text(path: Path) -> str:
    """Content of a UTF-8 file, with or without byte order mark.

    Raises
    ------
    InputError
        If it is missing, unreadable, not UTF-8 or without any text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{path} is not UTF-8 text (byte 0x{byte:02x} at offset {error.start}); "
            "save it again as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
    if not text.strip():
        raise InputError(f"{path} is empty; it must hold at least one line of text")
    return text


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Lines of a text file that are not blank, with their numbers from 1."""
    lines = enumerate(read_text(path).splitlines(), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_table(path: Path, required: Sequence[str], *, strip: bool = True) -> list[Row]:
    """Rows of a CSV file with a header; blank rows are left out.

    Parameters
    ----------
    path : Path
        Separated by commas, semicolons or tabs: by what the header has most of.
    required : sequence of str
        Columns that must be there.
    strip : bool
        Take off the whitespace around values.

    Raises
    ------
    InputError
        If the file cannot be read, has no rows, lacks a column or has rows of another length.
    """
    text = read_text(path).lstrip()
    separator = max(",;\t", key=text.splitlines()[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [
            (reader.line_num, [cell.strip() if strip else cell for cell in row]) for row in reader
        ]
    except csv.Error as error:
        raise InputError(f"{path} row {reader.line_num} is not CSV ({error}); correct it") from None
    columns = [name.casefold() for name in rows[0][1]]
    _check_columns(path, columns, required)
    result = []
    for number, cells in rows[1:]:
        if not any(cells):
            continue
        if len(cells) != len(columns):
            raise InputError(
                f"{path} row {number} has {len(cells)} values where the header has "
                f"{len(columns)} columns; complete the row"
            )
        result.append(Row(path, number, dict(zip(columns, cells, strict=True))))
    if not result:
        raise InputError(f"{path} has a header but no rows; add one row per clip")
    return result


def _check_columns(path: Path, columns: list[str], required: Sequence[str]) -> None:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f'{path} has the column "{twice[0]}" twice; rename one of them')
    for name in required:
        if name not in columns:
            close = difflib.get_close_matches(name, columns, n=1, cutoff=0.0)
            raise InputError(
                f'{path} has no column "{name}"; the nearest is "{close[0]}": rename or add it'
            )


def locate(root: Path, text: str) -> tuple[str, Path]:
    """Name and place of a video that is stated relative to `root`, or absolutely.

    Examples
    --------
    >>> locate(Path("data"), "./a/../b.mp4")[0]
    'b.mp4'
    """
    video = Path(text)
    name = posixpath.normpath(video.as_posix())
    base = posixpath.normpath(root.absolute().as_posix())
    # The name of a video inside the data set must not depend on where the data set lies.
    if video.is_absolute() and Path(name).is_relative_to(base):
        name = Path(name).relative_to(base).as_posix()
    return name, root / video


def without_suffix(video: str) -> str:
    """Name of a video without its extension; a folder of images may have dots in its name.

    Examples
    --------
    >>> without_suffix("run/a.mp4"), without_suffix("run/frames.v2")
    ('run/a', 'run/frames.v2')
    """
    stem, suffix = posixpath.splitext(video)
    return stem if suffix.casefold() in VIDEO_SUFFIXES else video


def is_visible(name: str) -> bool:
    """Tell whether a file or folder is the user's: neither hidden nor left behind by a system.

    Examples
    --------
    >>> [is_visible(name) for name in ("f1.png", "._f1.png", "Thumbs.db", "@eaDir")]
    [True, False, False, False]
    """
    return not name.startswith(".") and name.casefold() not in LEFT_BY_SYSTEMS


def visible_entries(folder: Path) -> list[Path]:
    """Return the sorted files and folders in a folder that are visible; see `is_visible`."""
    return sorted(entry for entry in folder.iterdir() if is_visible(entry.name))


def is_image_folder(path: Path) -> bool:
    """Whether `path` is a folder of numbered images, which counts as a video."""
    return path.is_dir() and any(
        entry.suffix.casefold() in IMAGE_SUFFIXES and re.search(r"\d", entry.stem)
        for entry in visible_entries(path)
    )


def group_of(video: str) -> str | None:
    """Group of a video named as in UCF101, which stands for its subject.

    Examples
    --------
    >>> group_of("Archery/v_Archery_g01_c02.avi")
    'g01'
    """
    match = _UCF101.fullmatch(posixpath.basename(without_suffix(video)))
    return match[1] if match else None
