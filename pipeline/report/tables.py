"""Tables for papers and other programs: LaTeX without packages, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featstore.text import as_cell
from pipeline.metrics.classification import MAIN_SCORES, SCORES, score_name
from pipeline.runs.files import PARTS

OF_CLASS = ("precision", "recall", "f1")
INTERVALS = ("clips", "subjects")


class Latex(str):
    """Text that is already LaTeX; `latex` does not escape it."""


def csv_of(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as CSV; text is escaped so that a spreadsheet sees no formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([as_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a tabular; its first column is text, the others are numbers.

    Examples
    --------
    >>> print(latex(["class", "F1"], [["a_b", "5 %"]]))
    \begin{tabular}{lr}
    \hline
    class & F1 \\
    \hline
    a\_b & 5 \% \\
    \hline
    \end{tabular}
    """
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\hline"]
    lines += [" & ".join(map(_escaped, header)) + r" \\", r"\hline"]
    lines += [" & ".join(map(_escaped, row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}"])


def hundredths(value: float | None) -> str:
    """Return a fraction in percent without the sign, or a dash for None.

    Examples
    --------
    >>> hundredths(0.125), hundredths(None)
    ('12.5', '--')
    """
    return "--" if value is None else f"{100 * value:.1f}"


def run_csv(metrics: Mapping[str, Any]) -> str:
    """Return every score of a run, one a row; ``class`` is empty for scores over all classes.

    Parameters
    ----------
    metrics : mapping
        The result of `pipeline.runs.files.read_metrics`.
    """
    bounds = [f"{over}_{end}" for over in INTERVALS for end in ("low", "high")]
    rows = [row for part in PARTS for row in _run_rows(metrics, part)]
    return csv_of(["part", "class", "clips", "score", "value", *bounds], rows)


def _run_rows(metrics: Mapping[str, Any], part: str) -> Iterator[list[Any]]:
    scores = metrics[part]
    intervals = (metrics.get("intervals") or {}).get(part) or {}
    for name in SCORES if scores["clips"] else ():
        found = intervals.get(name) or {}
        ends = [end for over in INTERVALS for end in found.get(over) or (None, None)]
        yield [part, "", scores["clips"], name, scores[name], *ends]
    for row in scores["per_class"]:
        for name in OF_CLASS if row["support"] else ():
            yield [part, row["class"], row["support"], name, row[name], *[None] * 4]


def run_latex(metrics: Mapping[str, Any]) -> str:
    """Return two tabulars, in percent: the scores of a run with intervals, and its classes.

    Parameters
    ----------
    metrics : mapping
        The result of `pipeline.runs.files.read_metrics`.
    """
    parts = [part for part in PARTS if metrics[part]["clips"]]
    scores = [[score_name(key), *(_with_interval(metrics, part, key) for part in parts)]
              for key in SCORES]  # fmt: skip
    classes = [
        [row["class"], str(row["support"]), *(hundredths(row[name]) for name in OF_CLASS)]
        for row in sorted(metrics[parts[-1]]["per_class"], key=lambda row: -row["support"])
    ]
    return "\n\n".join([latex(["", *parts], scores), latex(["class", "clips", *OF_CLASS], classes)])


def _with_interval(metrics: Mapping[str, Any], part: str, key: str) -> str:
    """Return a score with its interval over subjects, or over clips where those are unknown."""
    found = ((metrics.get("intervals") or {}).get(part) or {}).get(key) or {}
    bounds = found.get("subjects") or found.get("clips")
    text = hundredths(metrics[part][key])
    return f"{text} [{', '.join(map(hundredths, bounds))}]" if bounds else text


def runs_csv(summary: Mapping[str, Any]) -> str:
    """Return means and standard deviations of several runs, one a row.

    ``split`` is empty for means over splits, whose deviation is that over seeds, and ``class`` is
    empty for scores over all classes.

    Parameters
    ----------
    summary : mapping
        The content of the folder's ``metrics.json``; see `pipeline.train.seeds`.
    """
    rows: list[list[Any]] = []
    for part in PARTS:
        groups = [("", summary["scores"][part])]
        groups += [(split["title"], split[part]) for split in summary["splits"]]
        for title, scores in groups:
            for name in SCORES:
                if (mean := scores[name]["mean"]) is not None:
                    rows.append([title, part, "", name, mean, scores[name]["std"]])
        for row in summary["per_class"][part]:
            for name in ("recall", "f1"):
                rows.append(["", part, row["class"], name, row[name]["mean"], row[name]["std"]])
    return csv_of(["split", "part", "class", "score", "mean", "std"], rows)


def runs_latex(summary: Mapping[str, Any]) -> str:
    """Return two tabulars, in percent: means and deviations by split, and by class.

    Parameters
    ----------
    summary : mapping
        See `runs_csv`.
    """
    part = "test" if any(split["clips"]["test"] for split in summary["splits"]) else "val"
    rows = [[split["title"], *(_pair(split[part][name]) for name in MAIN_SCORES)]
            for split in summary["splits"]]  # fmt: skip
    rows.append(["mean", *(_pair(summary["scores"][part][name]) for name in MAIN_SCORES)])
    classes = [
        [row["class"], str(row["clips"]), *(_pair(row[name]) for name in ("recall", "f1"))]
        for row in summary["per_class"][part]
    ]
    header = [f"{part} split", *map(score_name, MAIN_SCORES)]
    return "\n\n".join([latex(header, rows), latex(["class", "clips", "recall", "F1"], classes)])


def _pair(spread: Mapping[str, Any]) -> str:
    if spread["std"] is None:
        return hundredths(spread["mean"])
    return Latex(rf"{hundredths(spread['mean'])} $\pm$ {hundredths(spread['std'])}")


def _escaped(text: str) -> str:
    if isinstance(text, Latex):
        return text
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
