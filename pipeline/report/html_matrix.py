"""The confusion matrix of the page, and the clips behind its cells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featstore.text import visible
from pipeline.metrics.classification import cells_of
from pipeline.report.figures import most_frequent
from pipeline.report.html_text import escaped

LISTED = 20  # most clips listed for one cell
MOST_LISTED = 1500  # most clips listed for all cells


def matrix(scores: Mapping[str, Any], part: str) -> str:
    """Return the confusion matrix as a table, whose nonzero cells are buttons.

    With more classes than figures show, only those with the most clips are shown.

    Parameters
    ----------
    scores : mapping
        The scores of the part, from ``metrics.json``.
    part : {"val", "test"}
    """
    rows = scores["per_class"]
    support = np.array([row["support"] for row in rows], np.int64)
    shown = sorted(most_frequent(support).tolist())
    counts = {(i, j): n for i, j, n in cells_of(scores["confusion"]).tolist()}
    heads = "".join(f'<th scope="col"><span>{_name(rows[j])}</span></th>' for j in shown)
    body = "\n".join(
        f'<tr data-class="{i}" data-clips="{support[i]}">'
        f'<th scope="row"><span>{_name(rows[i])}</span></th>'
        f"{''.join(_cell(counts.get((i, j), 0), int(support[i]), right=i == j) for j in shown)}"
        "</tr>"
        for i in shown
    )
    caption = f"Confusion matrix on {part}: rows are true classes, columns are predicted ones"
    few = f" The {len(shown)} of {len(rows):,} classes with the most clips are shown."
    return (
        f"<p>Rows are true classes, columns are predicted ones; colour is the share of the row."
        f"{few * (len(shown) < len(rows))} Arrow keys move between cells; a cell opens its "
        "clips.</p>\n"
        '<p class="choice"><label>Sort classes by <select id="order">'
        '<option value="list">class list</option><option value="errors">most misclassified clips'
        '</option><option value="recall">lowest recall</option></select></label></p>\n'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">'
        f'<table id="matrix"><thead><tr><td></td>{heads}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>\n"
        '<dialog id="clips" aria-labelledby="clips-of"><form method="dialog">'
        '<button aria-label="close">✕</button></form><h3 id="clips-of"></h3>'
        "<ol></ol><p></p></dialog>"
    )


def _name(row: Mapping[str, Any]) -> str:
    """Return the name of a class, which may break after an underscore."""
    return escaped(row["class"]).replace("_", "_<wbr>")


def _cell(count: int, support: int, *, right: bool) -> str:
    if not count:
        return "<td></td>" if support else '<td class="none"></td>'
    kind = "right" if right else "wrong"
    style = f"--s:{count / support:.2g}"
    return f'<td class="{kind}" style="{style}"><button type="button">{count}</button></td>'


def clips_of_cells(rows: Sequence[Mapping[str, str]], classes: Sequence[str]) -> str:
    """Return JSON of the clips behind the cells, safe within a script element.

    Parameters
    ----------
    rows : sequence of mapping
        The part's rows of ``predictions.csv``.
    classes : sequence of str

    Returns
    -------
    str
        An object: ``true,predicted`` to lists of clip, subject and probability. At most `LISTED`
        a cell, the most confident first, and `MOST_LISTED` in all, misclassified clips first.
    """
    number = {name: index for index, name in enumerate(classes)}
    cells: dict[tuple[int, int], list[Mapping[str, str]]] = {}
    for row in rows:
        cell = number[row["label"]], number[row["prediction"]]
        cells.setdefault(cell, []).append(row)
    listed, left = {}, MOST_LISTED
    for (true, guess), clips in sorted(cells.items(), key=lambda cell: cell[0][0] == cell[0][1]):
        most = sorted(clips, key=lambda row: -float(row["probability"]))[: min(LISTED, left)]
        left -= len(most)
        if most:
            listed[f"{true},{guess}"] = [
                [visible(row["clip"]), visible(row.get("subject") or ""), _share(row)]
                for row in most
            ]
    text = json.dumps(listed, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _share(row: Mapping[str, str]) -> str:
    return f"{100 * float(row['probability']):.1f} %"
