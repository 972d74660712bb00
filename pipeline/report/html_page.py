"""The frame of every page: one file with style and script, and sections from Markdown."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Mapping
from importlib import resources

from pipeline.report.html_text import blocks, escaped, inline


def document(title: str, sections: Mapping[str, str], clips: str = "") -> str:
    """Return a page that loads nothing.

    Parameters
    ----------
    title : str
        Plain text.
    sections : mapping
        Headings, as plain text, to HTML.
    clips : str
        The result of `pipeline.report.html_matrix.clips_of_cells`, of a page with a confusion
        matrix.
    """
    files = resources.files("pipeline.report")
    style, script = ((files / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    data = ""
    if clips:
        script += (files / "matrix.js").read_text("utf-8")
        data = f'<script type="application/json" id="clips-of-cells">{clips}</script>\n'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    policy += f"script-src 'sha256-{digest}'"
    anchors = _anchors(sections)
    links = "".join(f'<a href="#{a}">{escaped(n)}</a>' for n, a in anchors.items())
    body = "\n".join(
        f'<section id="{anchors[name]}" aria-labelledby="{anchors[name]}-title">'
        f'<h2 id="{anchors[name]}-title">{escaped(name)}</h2>\n{content}\n</section>'
        for name, content in sections.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escaped(title)}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header><h1>{escaped(title)}</h1><nav aria-label="sections">{links}</nav></header>
<main id="main" tabindex="-1">
{body}
</main>
{data}<script>{script}</script>
</body>
</html>
"""


def card(title: str, value: str, notes: Iterable[str]) -> str:
    """Return one figure in large type, with notes below; all are HTML."""
    about = "".join(f"<span>{note}</span>" for note in notes)
    return f'<div class="card"><span>{title}</span><strong>{value}</strong>{about}</div>'


def _anchors(names: Iterable[str]) -> dict[str, str]:
    """Return an id for each heading.

    Examples
    --------
    >>> _anchors(["Classes on test", "a/b", "a b"])
    {'Classes on test': 'classes-on-test', 'a/b': 'a-b', 'a b': 'a-b-3'}
    """
    anchors: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        anchor = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "section"
        anchors[name] = f"{anchor}-{number}" if anchor in anchors.values() else anchor
    return anchors


def sections_of(report: str) -> tuple[str, dict[str, str]]:
    r"""Return the title of a report in Markdown, and its sections as HTML by heading.

    What stands before the first heading is the section "Summary".

    Examples
    --------
    >>> sections_of("# a\\*b\n\ntext\n\n## Next\n\n- one\n")
    ('a*b', {'Summary': '<p>text</p>', 'Next': '<ul><li>one</li></ul>'})
    """
    head, *parts = re.split(r"(?m)^## ", report)
    title, _, summary = head.partition("\n")
    sections = {"Summary": blocks(summary.split("\n"), "scores", sortable=True)}
    for part in parts:
        heading, _, text = part.partition("\n")
        name = _plain(heading)
        sections[name] = blocks(text.split("\n"), name, sortable=True)
    return _plain(title.removeprefix("# ")), {name: text for name, text in sections.items() if text}


def _plain(markdown: str) -> str:
    """Return a line of Markdown as text."""
    return html.unescape(re.sub(r"<[^>]*>", "", inline(markdown)))
