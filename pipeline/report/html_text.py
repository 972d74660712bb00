"""Turn names and the reports' Markdown into HTML.

`pipeline.report.markdown` writes tables, lists, bold text, code and links to other reports; no
other Markdown is read here. So the page and ``report.md`` show the same numbers from the same
functions.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from featstore.text import visible

_TOKENS = re.compile(r"\\(.)|`([^`]*)`|(\*\*)|\[([^\]]*)\]\(([^):]*)\)")
_NO_ENTITY = re.compile(r"&(?!#?\w+;)")


def escaped(text: str) -> str:
    r"""Return a name as HTML shows it literally, also within quotes.

    Examples
    --------
    >>> print(escaped('<b title="a&b">\n'))
    &lt;b title=&quot;a&amp;b&quot;&gt;\n
    """
    return html.escape(visible(text))


def inline(markdown: str) -> str:
    r"""Return a line of Markdown from `pipeline.report.markdown.plain` as HTML.

    Examples
    --------
    >>> inline(r"**a\*b** of `f00d`, &lt;i&gt;")
    '<strong>a*b</strong> of <code>f00d</code>, &lt;i&gt;'
    """
    parts, end, bold = [], 0, False
    for token in _TOKENS.finditer(markdown):
        parts.append(_entities(markdown[end : token.start()]))
        character, code, stars, text, target = token.groups()
        if stars:
            parts.append("</strong>" if bold else "<strong>")
            bold = not bold
        elif target is not None:
            page = html.escape(re.sub(r"\.md$", ".html", target))
            parts.append(f'<a href="{page}">{_entities(text)}</a>')
        elif code is not None:
            parts.append(f"<code>{html.escape(code)}</code>")
        else:
            parts.append(html.escape(character))
        end = token.end()
    return "".join([*parts, _entities(markdown[end:]), "</strong>" * bold])


def _entities(text: str) -> str:
    """Escape all but the entities that `plain` wrote."""
    return _NO_ENTITY.sub("&amp;", text).replace("<", "&lt;").replace(">", "&gt;")


def blocks(lines: Iterable[str], caption: str, *, sortable: bool = False) -> str:
    r"""Return lines of Markdown as HTML: paragraphs, lists and tables.

    Parameters
    ----------
    lines : iterable of str
        Headings are left out.
    caption : str
        What the tables show, for screen readers.
    sortable : bool
        Whether the headings of tables sort.

    Examples
    --------
    >>> blocks(["text", "", "- a", "- b"], "letters")
    '<p>text</p>\n<ul><li>a</li><li>b</li></ul>'
    """
    parts, block = [], list[str]()
    for line in [*lines, ""]:
        if line and not line.startswith("#"):
            block.append(line)
        elif block:
            parts.append(_block(block, caption, sortable=sortable))
            block = []
    return "\n".join(parts)


def _block(lines: Sequence[str], caption: str, *, sortable: bool) -> str:
    if lines[0].startswith("| "):
        header, _, *rows = ([inline(cell) for cell in _cells(line)] for line in lines)
        return table(header, rows, caption, sortable=sortable)
    if lines[0].startswith("- "):
        items = "".join(f"<li>{inline(line[2:])}</li>" for line in lines)
        return f"<ul>{items}</ul>"
    return f"<p>{'<br>'.join(inline(line.rstrip()) for line in lines)}</p>"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line[1:-1])]


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], caption: str, *, sortable: bool = False
) -> str:
    """Return a table that scrolls in its own box; the cells are HTML, the first names its row.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequence of str
    caption : str
        Plain text, for screen readers.
    sortable : bool
        Whether the headings are buttons that sort.
    """
    if sortable:
        header = [cell and f'<button type="button">{cell}</button>' for cell in header]
    heads = "".join(f'<th scope="col">{cell}</th>' if cell else "<td></td>" for cell in header)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    attributes = f'class="scroll" role="region" tabindex="0" aria-label="{escaped(caption)}"'
    kind = ' class="sortable"' if sortable else ""
    return (
        f"<div {attributes}><table{kind}><thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
