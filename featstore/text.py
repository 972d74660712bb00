"""Escape text from annotations and file names, for display and for CSV files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice

# Control characters, line separators, bidirectional marks, and bytes of file names that are not
# UTF-8 (lone surrogates).
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# The start of a formula in a spreadsheet, after any apostrophes; see `as_cell`.
_FORMULA = re.compile("'*[=+\\-@\t\r]")


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text with escaped control characters.

    Parameters
    ----------
    text : str
    keep : str
        Characters that are not escaped, such as the line breaks of a table.

    Examples
    --------
    >>> print(visible("a\nb\x1b[31m"))
    a\nb\x1b[31m
    """
    return _HIDDEN.sub(
        lambda match: match[0] if match[0] in keep else match[0].encode("unicode_escape").decode(),
        text,
    )


def as_cell(text: str) -> str:
    """Return a text as a CSV cell that no spreadsheet reads as a formula.

    Put an apostrophe before a leading ``=``, ``+``, ``-``, ``@``, tab or carriage return, even
    after other apostrophes, so that `of_cell` can restore every text.

    Examples
    --------
    >>> as_cell("=A1"), as_cell("'=A1"), as_cell("'quoted'")
    ("'=A1", "''=A1", "'quoted'")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(cell: str) -> str:
    """Return the original text of a cell from `as_cell`.

    Examples
    --------
    >>> [of_cell(as_cell(text)) for text in ("=A1", "'=A1", "'quoted'", "-")]
    ['=A1', "'=A1", "'quoted'", '-']
    """
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def human_size(size: int) -> str:
    """Return a number of bytes in a readable unit, with three digits.

    Examples
    --------
    >>> human_size(430), human_size(43_000), human_size(430_000_000), human_size(1_430_000_000)
    ('430 B', '43.0 kB', '430 MB', '1.43 GB')
    """
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if (value := size / limit) >= 1:
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{size} B"


def count_of(number: int, what: str, several: str = "") -> str:
    """Return a number with its noun in singular or plural.

    Examples
    --------
    >>> count_of(1, "clip"), count_of(2, "clip"), count_of(2, "class", "classes")
    ('1 clip', '2 clips', '2 classes')
    """
    return f"{number} {what if number == 1 else several or what + 's'}"


def listed(names: Collection[str], *, most: int = 20) -> str:
    """Return up to `most` names separated by commas, and the number of names left out.

    Examples
    --------
    >>> listed(["a", "b"]), listed(["a", "b", "c"], most=1)
    ('a, b', 'a and 2 more')
    """
    text = ", ".join(islice(names, most))
    return text if len(names) <= most else f"{text} and {len(names) - most:,} more"


def nearest_name(word: str, names: Iterable[str]) -> str:
    """Return the name that a misspelt word most likely means; empty if no name is near.

    Examples
    --------
    >>> nearest_name("Eatin", ["drinking", "eating"]), nearest_name("xyz", ["eating"])
    ('eating', '')
    """
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(word.casefold(), folded, n=1)
    return folded[near[0]] if near else ""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return a hint to add after a misspelt word, or an empty string if no name is near.

    Examples
    --------
    >>> print(f"--source is tabel{did_you_mean('tabel', ['folders', 'table'])}")
    --source is tabel (did you mean 'table'?)
    """
    name = nearest_name(word, names)
    return f" (did you mean {name!r}?)" if name else ""
