"""Tables for papers: every score of a run, in LaTeX and CSV."""

import csv
import io

from pipeline.metrics.classification import SCORES
from pipeline.report.tables import csv_of, latex, run_csv, run_latex
from tests.pipeline.report.test_run import CLASSES, INTERVALS, metrics


def test_csv_has_every_score_of_a_run() -> None:
    run = metrics(intervals={"test": INTERVALS})
    rows = list(csv.DictReader(io.StringIO(run_csv(run))))
    found = {(row["part"], row["class"], row["score"]): row for row in rows}
    assert len(found) == len(rows)
    for part in ("val", "test"):
        for name in SCORES:
            assert float(found[part, "", name]["value"]) == run[part][name]
        for row in run[part]["per_class"]:
            assert ((part, row["class"], "recall") in found) == (row["support"] > 0)
            if row["support"]:
                assert float(found[part, row["class"], "f1"]["value"]) == row["f1"]
    top1 = found["test", "", "top1"]
    assert [float(top1[f"subjects_{end}"]) for end in ("low", "high")] == INTERVALS["top1"][
        "subjects"
    ]
    assert found["val", "", "top1"]["clips_low"] == ""


def test_latex_has_the_scores_with_intervals_and_the_classes() -> None:
    text = run_latex(metrics(intervals={"test": INTERVALS}))
    low, high = (f"{100 * bound:.1f}" for bound in INTERVALS["top1"]["subjects"])
    assert f"[{low}, {high}]" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert [line.split(" & ")[0] for line in text.splitlines()[-6:-2]] == list(CLASSES)
    assert r"mean class accuracy & " in text


def test_cells_are_escaped() -> None:
    assert r"a\_b \& 5 \%" in latex(["x"], [["a_b & 5 %"]])
    assert csv_of(["x"], [["=1+1"]]) != "x\n=1+1\n"
