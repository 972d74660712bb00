"""The page of a folder of runs: several seeds, several splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.metrics.classification import MAIN_SCORES, score_name
from pipeline.report.html_charts import Bar, bars
from pipeline.report.html_page import card, document, sections_of
from pipeline.report.html_text import escaped
from pipeline.report.markdown import percent, percents
from pipeline.report.seeds import pair, render


def page(summary: Mapping[str, Any]) -> str:
    """Return the page of a folder of runs.

    Parameters
    ----------
    summary : mapping
        The content of the folder's ``metrics.json``; see `pipeline.train.seeds`.
    """
    part = "test" if any(split["clips"]["test"] for split in summary["splits"]) else "val"
    title, sections = sections_of(render(summary))
    runs = "".join(_runs(summary, part, name) for name in MAIN_SCORES)
    sections = {
        "Summary": f'<div class="cards">{_cards(summary, part)}</div>',
        f"Runs of each split on {part}": runs,
        **sections,
    }
    return document(title, sections)


def _cards(summary: Mapping[str, Any], part: str) -> str:
    pooled = summary["pooled"][part] or {}
    cards = []
    for name in MAIN_SCORES:
        spread, notes = summary["scores"][part][name], []
        for over, words in (("std", "seeds"), ("std_over_splits", "splits")):
            if spread[over] is not None:
                notes.append(f"{percent(spread[over])} standard deviation over {words}")
        if bounds := (pooled.get(name) or {}).get("subjects"):
            level, people = 100 * pooled["level"], _people(summary)
            notes.append(f"{percents(bounds)}, {level:.0f} % interval over {people}")
        cards.append(card(f"mean {score_name(name)} on {part}", percent(spread["mean"]), notes))
    return "".join(cards)


def _people(summary: Mapping[str, Any]) -> str:
    return "subjects" if summary["subjects_known"] else "videos"


def _runs(summary: Mapping[str, Any], part: str, name: str) -> str:
    """Return a table with a dot for each run of each split, on a scale of 0 to 100 %."""
    rows = [
        Bar(
            split["title"],
            [value for value in split[part][name]["values"] if value is not None],
            pair(split[part][name]),
            bar=False,
        )
        for split in summary["splits"]
    ]
    header = ["split", "runs, from 0 to 100 %", escaped(score_name(name))]
    return bars(header, rows, f"{score_name(name)} of each split on {part}")
