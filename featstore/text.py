"""Text from annotations and file names, made harmless where it is shown or written."""

from __future__ import annotations

import re

# Control characters, line separators, marks that turn the direction of writing, and bytes of file
# names that are not UTF-8 (lone surrogates).
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What a spreadsheet takes for a formula, behind any apostrophes; see `as_cell`.
_FORMULA = re.compile("'*[=+\\-@\t\r]")


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text with its control characters as escapes.

    Parameters
    ----------
    text : str
    keep : str
        Characters to leave, such as the line breaks of a table.

    Examples
    --------
    >>> print(visible("a\nb\x1b[31m"))
    a\nb\x1b[31m
    """
    return _HIDDEN.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(),
        text,
    )


def as_cell(text: str) -> str:
    """Return a text as a CSV cell that no spreadsheet takes for a formula.

    An apostrophe goes before a leading ``=``, ``+``, ``-``, ``@``, tab or carriage return, also
    where apostrophes stand there already; so `of_cell` returns every text as it was.

    Examples
    --------
    >>> as_cell("=A1"), as_cell("'=A1"), as_cell("'quoted'")
    ("'=A1", "''=A1", "'quoted'")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(cell: str) -> str:
    """Return the text that `as_cell` was given.

    Examples
    --------
    >>> [of_cell(as_cell(text)) for text in ("=A1", "'=A1", "'quoted'", "-")]
    ['=A1', "'=A1", "'quoted'", '-']
    """
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def human_size(size: int) -> str:
    """Return bytes in the unit that suits them, with three digits.

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
    """Give a number with its noun.

    Examples
    --------
    >>> count_of(1, "clip"), count_of(2, "clip"), count_of(2, "class", "classes")
    ('1 clip', '2 clips', '2 classes')
    """
    return f"{number} {what if number == 1 else several or what + 's'}"
