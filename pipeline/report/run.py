"""The report of a run, written from the files in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from featstore.format.files import write_text
from featstore.text import count_of, listed
from pipeline.metrics.classification import SCORES, cells_of, most_confused, score_name
from pipeline.report.baselines import baseline_lines, no_better
from pipeline.report.html import Words, page
from pipeline.report.html_strips import Strips
from pipeline.report.markdown import percent, plain, points, table
from pipeline.report.portfolio import portfolio_lines
from pipeline.report.uncertainty import calibration_lines, interval_lines
from pipeline.runs.files import PARTS, UNLABELLED, read_metrics

NEAR_UNIFORM = 0.95
# From docs/results.md: the standard deviations over seeds of both tables of lips and of thermal.
ONE_SEED = (
    "The scores are of one seed. Seeds of one recipe had a standard deviation of 0.3 to 2.5 points "
    "on 1,800 test clips of lips, and of 1.4 to 11 points on 86 thermal clips. Training with "
    "--seeds 5 measures it for these data."
)
FUSIONS = {
    "concat": "concatenated",
    "logits": "one head per store, logits averaged",
    "views": "augmented views: one is drawn per clip in training, and the mean of the "
    "probabilities of all is scored",
}
FIGURES = {
    "curves": "Loss and scores by epoch",
    "confusion": "Confusion matrix",
    "per_class": "Recall and F1 of each class",
    "reliability": "Reliability of the probabilities",
    "attention": "Attention over time",
}


def report(run: Path, strips: Strips | None = None) -> str:
    """Rewrite a run's ``report.md`` and ``report.html``, and return the text of the former.

    Parameters
    ----------
    run : Path
        The run's folder.
    strips : callable, optional
        Draws the frames of clips for the page; see `pipeline.predict.strips`.

    Returns
    -------
    str
        The text, in Markdown.

    Raises
    ------
    InputError
        If `run` is not the folder of a run, or a file in it cannot be read.
    """
    metrics = read_metrics(run)
    part = "test" if metrics["test"]["clips"] else "val"
    figures = [
        f"![{caption}](figures/{name}.png)"
        for name, caption in FIGURES.items()
        if (run / "figures" / f"{name}.png").is_file()
    ]
    people = "subjects" if metrics["subjects_known"] else "videos"
    words = Words(
        protocol=_protocol(metrics),
        results=_results(metrics),
        certainty=interval_lines(metrics, metrics.get("intervals") or {}, people=people),
        baselines=baseline_lines(metrics),
        portfolio=portfolio_lines(metrics.get("portfolio")),
        observations=[f"- {plain(line)}" for line in observations(metrics)],
        calibration=calibration_lines(metrics["calibration"]) if "calibration" in metrics else [],
    )
    results = [*words.results, *words.baselines]
    if words.certainty:
        results += ["", *words.certainty]
    sections = [
        f"# {plain(metrics['recipe'])} on {plain(metrics['title'])}",
        "  \n".join(words.protocol),
        "\n".join(["## Results", "", *results]),
        *(["\n".join(words.portfolio)] if words.portfolio else []),
        *(["\n".join(["## Calibration", "", *words.calibration])] if words.calibration else []),
        "\n".join(["## Observations", "", *words.observations]),
        "\n".join([f"## Most confused on {part}", "", *_confused(metrics[part])]),
        "\n".join([f"## Classes on {part}", "", *_classes(metrics[part])]),
        "\n\n".join(["## Figures", *figures]),
    ]
    text = "\n\n".join(sections) + "\n"
    html = page(run, metrics, part, words, strips)
    write_text(run / "report.md", text)
    write_text(run / "report.html", html)
    return text


def observations(metrics: dict[str, Any]) -> list[str]:
    """Return what a reader of the scores should know, one sentence per entry.

    Parameters
    ----------
    metrics : dict
        The result of `pipeline.runs.files.read_metrics`.
    """
    part = "test" if metrics["test"]["clips"] else "val"
    heads = _on_heads(metrics.get("mean_of") or [metrics["recipe"]], metrics.get("folds", 1))
    best = f"The best epoch was {metrics['best_epoch']} of {metrics['epochs']}; training"
    ended = f"ended because {metrics['why_stopped']}."
    # Each of several heads has a best epoch.
    lines = [f"{'Training' if heads else best} {ended}", *heads]
    if metrics["mixup"]:
        lines.append(
            "Trained with mixup: the training score in the history is the mean target mass of the "
            "predicted class, not an accuracy."
        )
    lines += no_better(metrics[part], metrics.get("baselines") or {}, part)
    lines += _on_attention(metrics)
    lines += _on_classes(metrics, part)
    lines += _on_data(metrics)
    return [*lines, ONE_SEED] if metrics["epochs"] > 1 else lines


def _on_heads(recipes: list[str], folds: int) -> list[str]:
    """Return how the heads of a run were trained; nothing on a single one."""
    lines = []
    if (heads := folds * len(recipes)) > 1:
        kinds = f" of {listed([plain(name) for name in recipes])}" if len(recipes) > 1 else ""
        lines.append(f"The run is the mean of {heads} heads{kinds}.")
    if folds > 1:
        lines.append(
            f"There are {folds} folds of train and val, and each head learned without one of them. "
            "A val clip is scored by heads that did not learn from it, a test clip by all."
        )
    return lines


def _on_attention(metrics: dict[str, Any]) -> list[str]:
    lines = []
    if (entropy := metrics["attention_entropy"]) is not None:
        shape = (
            "is near uniform, almost a mean over time"
            if entropy > NEAR_UNIFORM
            else "favours some steps over others"
        )
        lines.append(
            f"Attention {shape}: mean entropy over val clips is {entropy:.3f} of log(steps) "
            f"(above {NEAR_UNIFORM} counts as uniform)."
        )
    if count := metrics["one_step_val_clips"]:
        lines.append(
            f"{count_of(count, 'val clip')} with a single step: classified like any other, "
            "left out of the attention statistics."
        )
    return lines


def _on_classes(metrics: dict[str, Any], part: str) -> list[str]:
    rows = metrics[part]["per_class"]
    train = metrics["train"]
    largest = rows[int(np.argmax(train["per_class"]))]
    share = max(train["per_class"]) / train["clips"]
    recall = f"{percent(largest['recall'])} on {part}"
    lines = [
        f"Recall of the largest class, {largest['class']} ({percent(share)} of the training "
        f"clips): {recall if largest['support'] else f'no {part} clips'}."
    ]
    for name in PARTS if metrics["test"]["clips"] else ("val",):
        absent = [row["class"] for row in metrics[name]["per_class"] if not row["support"]]
        if absent:
            lines.append(
                f"{_of_classes(absent)} without {name} clips, left out of the averages: "
                f"{listed(absent)}."
            )
    never = [row["class"] for row in rows if row["support"] and not row["predicted"]]
    if never:
        lines.append(f"{_of_classes(never)} never predicted on {part}: {listed(never)}.")
    if absent := train["classes_without_clips"]:
        lines.append(f"{_of_classes(absent)} without training clips: {listed(absent)}.")
    return lines


def _on_data(metrics: dict[str, Any]) -> list[str]:
    lines = []
    if not metrics["test"]["clips"]:
        lines.append("The test part has no clips; the observations are about val.")
    failed = {part: count for part, count in metrics["failed_clips"].items() if count}
    if failed:
        counts = ", ".join(f"{count} of {part}" for part, count in failed.items())
        lines.append(f"Clips that could not be read when the store was built, left out: {counts}.")
    lines += metrics.get("concerns", [])
    if not metrics["subjects_known"]:
        lines.append(
            "Subjects are unknown: the parts may share people, so the scores may be too high."
        )
    if metrics["untrained"]:
        lines.append("The backbone is untrained: its features are those of random weights.")
    return lines


def _features(features: dict[str, Any]) -> str:
    if "imported" in features:
        return f"Features: imported as {features['dtype']}; their extraction is unknown."
    normalise = features["normalise"]
    view = f"; augmented view {features['view']['number']}" if "view" in features else ""
    return (
        f"Features: {features['backbone']} ({features['weights'][:19]}), {features['pixels']}, "
        f"{features['size']} x {features['size']} ({features['fit']}), fps {features['fps']}, "
        f"normalised by {normalise.get('from') or normalise}{view}."
    )


def _sources(metrics: dict[str, Any]) -> list[str]:
    """Return lines on the features trained on, from one store or several."""
    features = metrics.get("features", {})
    if not (stores := metrics.get("stores")):
        return [plain(_features(features))] if features else []
    how = FUSIONS[metrics["fusion"]]
    lines = [f"Features of {len(stores)} stores, {how}; steps aligned by time."]
    for number, source in enumerate(stores, start=1):
        features_text = plain(_features(features["fused"][str(number)]))
        lines.append(
            f"Store {number}: {plain(source['title'])}, `{source['key']}`. {features_text}"
        )
    return lines


def _protocol(metrics: dict[str, Any]) -> list[str]:
    rows = [f"Store `{metrics['store_key']}`, seed {metrics['seed']}, {metrics['seconds']:.1f} s."]
    rows += _sources(metrics)
    for part in PARTS:
        scores = metrics[part]
        rows.append(
            f"{part.capitalize()}: {count_of(scores['clips'], 'clip')}; averages over the "
            f"{scores['classes_with_support']} of {len(scores['per_class'])} classes that have "
            f"{part} clips."
        )
    if statistics := UNLABELLED.get(metrics.get("standardise", "none")):
        rows.append(
            f"Unlabelled val and test data: used. Features are standardised by {statistics}."
        )
    return rows


def _results(metrics: dict[str, Any]) -> list[str]:
    """Return the table of scores, with the baseline run's scores on the parts that both share."""
    baseline = metrics["baseline"]
    if baseline is None:
        rows = [[score_name(key), *(percent(metrics[p][key]) for p in PARTS)] for key in SCORES]
        return table(["", *PARTS], rows)
    named = f"{plain(baseline['name'])} ({plain(baseline['recipe'])}, seed {baseline['seed']})"
    lines = [f"Baseline: {named}.", ""]
    if baseline["store_key"] != metrics["store_key"]:
        lines += [
            f"**The baseline uses another store**, `{baseline['store_key']}`: the features differ "
            "too.",
            "",
        ]
    header, same = [""], {}
    for part in PARTS:
        ours, theirs = metrics[part]["clips"], baseline[part]
        same[part] = ours == theirs["clips"] == theirs["common"]
        header += [part, f"baseline {part}", "difference"]
        if not same[part]:
            lines += [
                f"**The {part} clips differ**: {ours} here, {theirs['clips']} in the baseline, "
                f"{theirs['common']} in both with equal labels. No difference is shown.",
                "",
            ]
    rows = []
    for key in SCORES:
        row = [score_name(key)]
        for part in PARTS:
            ours, theirs = metrics[part][key], baseline[part][key]
            row += [percent(ours), percent(theirs), _difference(ours, theirs, same[part])]
        rows.append(row)
    return lines + table(header, rows)


def _confused(scores: dict[str, Any]) -> list[str]:
    classes = [row["class"] for row in scores["per_class"]]
    pairs = most_confused(cells_of(scores["confusion"]))
    if not pairs:
        return ["No misclassified clips."]
    rows = [
        [classes[i], classes[j], f"{n} of {scores['per_class'][i]['support']}"] for i, j, n in pairs
    ]
    return table(["class", "taken for", "clips"], rows)


def _classes(scores: dict[str, Any]) -> list[str]:
    names = ("precision", "recall", "f1")
    rows = [
        [row["class"], str(row["support"]), *(percent(row[name]) for name in names)]
        for row in sorted(scores["per_class"], key=lambda row: -row["support"])
    ]
    return table(["class", "clips", *names], rows)


def _difference(ours: float | None, theirs: float | None, same: bool) -> str:
    return "–" if ours is None or theirs is None or not same else points(ours - theirs)


def _of_classes(names: list[str]) -> str:
    return count_of(len(names), "class", "classes")
