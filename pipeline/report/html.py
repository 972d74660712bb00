"""The report of a run as one HTML file that works offline and loads nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from featstore.errors import InputError
from featstore.text import listed
from pipeline.metrics.calibration import reliability_of
from pipeline.metrics.classification import MAIN_SCORES, score_name
from pipeline.report.html_charts import curves, reliability_chart
from pipeline.report.html_matrix import clips_of_cells, matrix
from pipeline.report.html_page import card, document
from pipeline.report.html_strips import MISTAKES, Row, Strip, Strips, strips_of, typical
from pipeline.report.html_text import blocks, escaped, table
from pipeline.report.markdown import percent, percents
from pipeline.runs.files import read_config, read_history, read_predictions

MOST_MISTAKES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Lines of Markdown that ``report.md`` and the page share.

    Attributes
    ----------
    protocol, results, certainty, baselines, portfolio, observations, calibration : list of str
    """

    protocol: Sequence[str]
    results: Sequence[str]
    certainty: Sequence[str]
    baselines: Sequence[str]
    portfolio: Sequence[str]
    observations: Sequence[str]
    calibration: Sequence[str]


def page(
    run: Path, metrics: Mapping[str, Any], part: str, words: Words, strips: Strips | None = None
) -> str:
    """Return the page of a run.

    Parameters
    ----------
    run : Path
        ``history.csv``, ``predictions.csv`` and ``config.yaml`` are read from it. The page says
        which of them is missing.
    metrics : mapping
        The result of `pipeline.runs.files.read_metrics`.
    part : {"val", "test"}
        The part that the page shows.
    words : Words
    strips : callable, optional
        Draws the frames of clips; without it the page has none.

    Raises
    ------
    InputError
        If a file of the run exists and cannot be read.
    """
    title, scores = f"{metrics['recipe']} on {metrics['title']}", metrics[part]
    classes = [row["class"] for row in scores["per_class"]]
    rows = _predictions(run, part, classes)
    wrong, samples = _mistaken(rows or []), typical(rows or [], classes)
    shown = [row["clip"] for row in (*wrong[:MISTAKES], *samples)]
    drawn = strips(list(dict.fromkeys(shown))) if strips else None
    compared = [*words.results, "", *words.baselines, "", *words.portfolio]
    sections = {
        "Summary": "\n".join(
            [
                _cards(metrics, part),
                blocks(words.observations, "observations"),
                blocks(words.certainty, "confidence intervals"),
            ]
        ),
        "Scores and baselines": blocks(compared, "scores and baselines"),
        "Learning curves": _curves(run, metrics["best_epoch"]),
        f"Confusion on {part}": matrix(scores, part),
        f"Classes on {part}": _classes(scores, part),
        "Most confident mistakes": _mistakes(rows, wrong) + strips_of(wrong[:MISTAKES], drawn),
        "A clip of each class": _samples(samples, drawn),
        "Calibration": _calibration(words, rows, part),
        "Provenance": blocks(words.protocol, "") + _provenance(run, metrics["seed"]),
    }
    clips = clips_of_cells(rows, classes) if rows else "{}"
    return document(title, sections, clips)


def _predictions(run: Path, part: str, classes: Sequence[str]) -> list[dict[str, str]] | None:
    """Return the rows of one part, checked; None without the file."""
    path = run / "predictions.csv"
    if not path.exists():
        return None
    rows = [row for row in read_predictions(run) if row["part"] == part]
    try:
        for row in rows:
            float(row["probability"])
    except ValueError as error:
        raise InputError(f"{path}: cannot be read ({error}); train the run again") from None
    if unknown := {row[name] for row in rows for name in ("label", "prediction")} - set(classes):
        raise InputError(
            f"{path}: names {listed(sorted(unknown))}, which metrics.json lacks; "
            "train the run again"
        )
    return rows


def _cards(metrics: Mapping[str, Any], part: str) -> str:
    """Return the main scores in large type, with their intervals and the best baseline."""
    intervals = (metrics.get("intervals") or {}).get(part)
    baselines = metrics.get("baselines") or {}
    cards = []
    for key in MAIN_SCORES:
        notes = []
        if intervals:
            over = "subjects" if metrics["subjects_known"] else "videos"
            if (bounds := intervals[key]["subjects"]) is None:
                bounds, over = intervals[key]["clips"], "clips"
            level = f"{100 * intervals['level']:.0f} % interval over {over}"
            notes.append(f"{percents(bounds)}, {level}")
        if (other := metrics["baseline"]) and _same_clips(metrics[part], other[part]):
            notes.append(f"{percent(other[part][key])} with {escaped(other['name'])}")
        plain = [one[part][key] for one in baselines.values() if isinstance(one, Mapping)]
        if plain := [value for value in plain if value is not None]:
            notes.append(f"{percent(max(plain))} with the best training-free baseline")
        title = f"{score_name(key)} on {part}"
        cards.append(card(title, percent(metrics[part][key]), notes))
    return f'<div class="cards">{"".join(cards)}</div>'


def _same_clips(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return bool(ours["clips"] == theirs["clips"] == theirs["common"])


def _curves(run: Path, best_epoch: int) -> str:
    path = run / "history.csv"
    if not path.exists():
        return "<p>history.csv is missing.</p>"
    history = read_history(run)
    try:
        return curves(history, best_epoch)
    except LookupError as error:
        raise InputError(f"{path}: lacks {error}; train the run again") from None


def _classes(scores: Mapping[str, Any], part: str) -> str:
    names = ("precision", "recall", "f1")
    rows = [
        [escaped(row["class"]), str(row["support"]), *(percent(row[name]) for name in names)]
        for row in sorted(scores["per_class"], key=lambda row: -row["support"])
    ]
    header = ["class", "clips", *names]
    return table(header, rows, f"scores of each class on {part}", sortable=True)


def _mistaken(rows: Sequence[Row]) -> list[Row]:
    """Return the misclassified clips, the most confident first."""
    wrong = [row for row in rows if row["label"] != row["prediction"]]
    return sorted(wrong, key=lambda row: -float(row["probability"]))


def _mistakes(rows: Sequence[Row] | None, wrong: Sequence[Row]) -> str:
    if rows is None:
        return "<p>predictions.csv is missing.</p>"
    if not wrong:
        return "<p>No misclassified clips.</p>"
    names = ("clip", "label", "prediction", "subject")
    cells = [
        [*(escaped(row.get(name) or "") for name in names), percent(float(row["probability"]))]
        for row in wrong[:MOST_MISTAKES]
    ]
    header = ["clip", "class", "taken for", "subject", "probability"]
    return table(header, cells, "the most confident mistakes", sortable=True)


def _samples(samples: Sequence[Row], drawn: Mapping[str, Strip | str] | None) -> str:
    if not samples:
        return "<p>predictions.csv is missing.</p>"
    return (
        "<p>Of the clips of each class, the one whose prediction has the median probability. "
        "Grey pictures are stretched to the range of their clip.</p>" + strips_of(samples, drawn)
    )


def _calibration(words: Words, rows: Sequence[Row] | None, part: str) -> str:
    text = blocks(words.calibration, "calibration errors") or "<p>This run has no calibration.</p>"
    if not rows:
        return text
    sure = np.array([float(row["probability"]) for row in rows])
    right = np.array([row["label"] == row["prediction"] for row in rows])
    return text + "\n" + reliability_chart(reliability_of(sure, right), part)


def _provenance(run: Path, seed: int) -> str:
    if not (run / "config.yaml").exists():
        return "<p>config.yaml is missing.</p>"
    config = read_config(run)
    store = config["store"]
    stores = store.get("stores") or [{"key": store["key"]}]
    flags = [word for one in stores for word in ("--store", one["key"])]
    command = ["featstore", "train", *flags, "--recipe", "recipe.yaml", "--seed", str(seed)]
    if device := config.get("device"):
        command += ["--device", str(device)]
    facts = {name: value for name, value in config.items() if name != "recipe"}
    facts["store"] = {name: store[name] for name in store if name not in ("classes", "statistics")}
    recipe = yaml.safe_dump(config["recipe"], sort_keys=False, allow_unicode=True)
    rest = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    return (
        "\n<p>With the recipe below as <code>recipe.yaml</code>, this trains the run again:</p>"
        f"<pre><code>{escaped(shlex.join(command))}</code></pre>"
        f"\n<details><summary>recipe.yaml</summary>{_pre(recipe)}</details>"
        f"\n<details><summary>store, versions and machine</summary>{_pre(rest)}</details>"
    )


def _pre(text: str) -> str:
    return "<pre>" + "\n".join(map(escaped, text.splitlines())) + "</pre>"
