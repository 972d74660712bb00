"""Pieces of reports in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from featstore.text import visible

# An underscore within a word needs no escape, nor an ampersand that starts no entity.
_MARKUP = re.compile(r"[\\`*\[\]~|]|(?<![^\W_])_|_(?![^\W_])")
_ENTITY = re.compile(r"&(?=#?\w+;)")


class Markup(str):
    """Text that is already Markdown, such as a link; `table` does not escape it."""


def plain(text: str) -> str:
    r"""Return the text escaped for Markdown: no HTML, link or emphasis, on one line.

    Examples
    --------
    >>> print(plain("<b>[a](b)</b> `c` d_e"))
    &lt;b&gt;\[a\](b)&lt;/b&gt; \`c\` d_e
    """
    escaped = _MARKUP.sub(r"\\\g<0>", _ENTITY.sub("&amp;", visible(text)))
    return escaped.replace("<", "&lt;").replace(">", "&gt;")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    r"""Return the lines of a table; its first column is text, the others are numbers.

    Cells are escaped by `plain`, except `Markup`.

    Examples
    --------
    >>> table(["class", "clips"], [["a|b", "3"]])
    ['| class | clips |', '| --- | ---: |', '| a\\|b | 3 |']
    """
    rule = ["---", *["---:"] * (len(header) - 1)]
    escaped = [[cell if isinstance(cell, Markup) else plain(cell) for cell in row] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *escaped)]


def percent(value: float | None) -> str:
    """Return a fraction as a percentage, or a dash for None.

    Examples
    --------
    >>> percent(0.125), percent(None)
    ('12.5 %', '–')
    """
    return "–" if value is None else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """Return a difference of fractions in percentage points, with its sign.

    Examples
    --------
    >>> points(0.031), points(-0.0001)
    ('+3.1', '-0.0')
    """
    return f"{100 * value:+.1f}"


def percents(bounds: Sequence[float] | None) -> str:
    """Return an interval of fractions in percent.

    Examples
    --------
    >>> percents([0.5, 0.625])
    '50.0 to 62.5'
    """
    return "–" if bounds is None else " to ".join(f"{100 * bound:.1f}" for bound in bounds)
