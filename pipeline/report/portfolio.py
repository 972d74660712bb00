"""The candidates of a portfolio, as logs and reports show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featstore.text import count_of
from pipeline.metrics.classification import MAIN_SCORES, score_name
from pipeline.report.markdown import percent, plain, table


def candidate_log(row: Mapping[str, Any]) -> str:
    """Return one line about a candidate.

    Parameters
    ----------
    row : mapping
        An entry of ``candidates``, as `pipeline.train.choose.choose` returns them.

    Examples
    --------
    >>> row = {"recipe": "mlp", "epochs": 4, "score": 0.5, "top1": 0.625}
    >>> candidate_log(row | {"mean_class_accuracy": 0.375})
    'candidate mlp: val top1 0.625, mean class accuracy 0.375, 4 epochs'
    """
    if "failed" in row:
        return f"candidate {row['recipe']} failed: {row['failed']}"
    trained = count_of(row["epochs"], "epoch") if row["epochs"] else "no training"
    return (
        f"candidate {row['recipe']}: val top1 {row['top1']:.3f}, mean class accuracy "
        f"{row['mean_class_accuracy']:.3f}, {trained}"
    )


def portfolio_lines(portfolio: Mapping[str, Any] | None) -> list[str]:
    """Return the lines of a report on how its recipe was chosen; none for one recipe."""
    if not portfolio:
        return []
    rows = [
        [
            row["recipe"] + " (chosen)" * row["won"],
            row["standardise"],
            "failed" if "failed" in row else str(row["epochs"]),
            *(percent(row.get(name)) for name in (*MAIN_SCORES, "score")),
        ]
        for row in portfolio["candidates"]
    ]
    scores = map(score_name, MAIN_SCORES)
    header = ["recipe", "standardised", "epochs", *scores, "mean of both"]
    about = (
        f"{plain(portfolio['protocol'])} {plain(portfolio['why'])} Test was not looked at. Scores "
        "are those of each recipe's best epoch; recipes with fewer epochs were eliminated."
    )
    return ["## Choice of the recipe", "", about, "", *table(header, rows)]
