"""The report of several seeds and splits, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featstore.text import count_of, listed
from pipeline.metrics.classification import MAIN_SCORES, SCORES, score_name
from pipeline.report.baselines import no_better
from pipeline.report.markdown import Markup, percent, plain, table
from pipeline.report.uncertainty import interval_lines
from pipeline.runs.files import PARTS, UNLABELLED


def render(summary: Mapping[str, Any]) -> str:
    """Return the report of a folder of runs.

    Parameters
    ----------
    summary : mapping
        The content of the folder's ``metrics.json``; see `pipeline.train.seeds`.
    """
    runs, seeds = len(summary["runs"]), count_of(len(summary["seeds"]), "seed")
    people = "subjects" if summary["subjects_known"] else "videos"
    pooled = summary["pooled"]
    scores = {part: intervals["scores"] for part, intervals in pooled.items() if intervals}
    splits = count_of(len(summary["splits"]), "split")
    sections = [
        [f"# {plain(summary['recipe'])}: {count_of(runs, 'run')}, {seeds} on {splits}"],
        ["## Protocol", "", *(f"- {plain(line)}" for line in protocol(summary))],
        ["## Results", "", *_results(summary)],
        ["## Intervals of all runs together", "", *interval_lines(scores, pooled, people=people)],
        ["## Splits", "", *_splits(summary)],
        *(
            [f"## Classes on {part}", "", *_classes(rows)]
            for part, rows in summary["per_class"].items()
            if rows
        ),
        ["## Runs", "", *_runs(summary)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def protocol(summary: Mapping[str, Any]) -> list[str]:
    """Return the protocol behind the scores, one sentence per entry."""
    people = "subject" if summary["subjects_known"] else "video"
    lines = [
        f"{split['title']}: "
        + ", ".join(
            f"{part} {count_of(split['clips'][part], 'clip')} of "
            f"{count_of(split['subjects'][part], people)}"
            for part in ("train", *PARTS)
        )
        + "."
        for split in summary["splits"]
    ]
    lines += [line for split in summary["splits"] for line in _left_out(split)]
    seeds = ", ".join(map(str, summary["seeds"]))
    lines += [
        f"Each split was trained once with each seed ({seeds}).",
        "Every run kept the weights of its epoch with the best val "
        f"{score_name(summary['monitor'])}; those weights were tested once.",
    ]
    tested = sum(split["clips"]["test"] for split in summary["splits"])
    pooled = summary["pooled"]["test"]
    if pooled and tested > pooled["clips"]:
        lines.append(
            f"Splits share test clips: of {tested} in total, {pooled['clips']} are distinct, so "
            "the scores of the splits are not independent."
        )
    elif pooled and len(summary["splits"]) > 1:
        lines.append("The splits share no test clips.")
    if statistics := UNLABELLED.get(summary["standardise"]):
        lines.append(
            f"Unlabelled val and test data: used. Features are standardised by {statistics}."
        )
    if any(split["untrained"] for split in summary["splits"]):
        lines.append("The backbone is untrained: its features are those of random weights.")
    if not summary["subjects_known"]:
        lines.append(
            "Subjects are unknown: the parts may share people, so the scores may be too high."
        )
    return lines + list(summary["concerns"])


def _left_out(split: Mapping[str, Any]) -> list[str]:
    """Return the classes and clips that the scores of a split leave out."""
    title, tested = split["title"], [part for part in PARTS if split["clips"][part]]
    averaged = " and ".join(
        f"{averages['averaged']} of {averages['of']} classes on {part}"
        for part in tested
        if (averages := split["classes"][part])
    )
    lines = [f"{title}: averages cover the classes that have clips, {averaged}."]
    absent = {part: split["classes"][part]["without_clips"] for part in tested}
    absent["training"] = split["classes_without_training_clips"]
    for part, classes in absent.items():
        if classes:
            count = count_of(len(classes), "class", "classes")
            lines.append(f"{title}: {count} without {part} clips: {listed(classes)}.")
    failed = ", ".join(
        f"{count} of {part}" for part, count in split["failed_clips"].items() if count
    )
    if failed:
        lines.append(
            f"{title}: clips that could not be read when the store was built, left out: {failed}."
        )
    return lines


def _results(summary: Mapping[str, Any]) -> list[str]:
    """Return the table of means over splits, with the spread over seeds and over splits."""
    rows = []
    for part in PARTS:
        for name in SCORES:
            spread = summary["scores"][part][name]
            spreads = [percent(spread["std"]), percent(spread["std_over_splits"])]
            rows.append([f"{part}, {score_name(name)}", percent(spread["mean"]), *spreads])
    worse = [line for split in summary["splits"] for line in _no_better(split)]
    return [
        "Mean over splits of the mean over seeds. Std over seeds: the standard deviation of each "
        "seed's mean over splits, which shows training variance. Std over splits: the standard "
        "deviation of the splits' means, which shows how much the tested people matter.",
        "",
        *table(["", "mean", "std over seeds", "std over splits"], rows),
        *(["", *worse] if worse else []),
    ]


def _no_better(split: Mapping[str, Any]) -> list[str]:
    """Return the splits whose mean over seeds does not beat the training-free baselines."""
    part = "test" if split["clips"]["test"] else "val"
    means = {name: split[part][name]["mean"] for name in SCORES}
    lines = no_better(means, split["baselines"], part)
    return [plain(f"- {split['title']}: {line[0].lower()}{line[1:]}") for line in lines]


def _splits(summary: Mapping[str, Any]) -> list[str]:
    rows = [
        [split["title"], part, *(pair(split[part][name]) for name in SCORES)]
        for split in summary["splits"]
        for part in PARTS
    ]
    names = [score_name(name) for name in SCORES]
    return ["Mean and standard deviation over seeds.", "", *table(["split", "", *names], rows)]


def pair(spread: Mapping[str, Any]) -> str:
    """Return a mean and its standard deviation over seeds."""
    if spread["std"] is None:
        return percent(spread["mean"])
    return f"{percent(spread['mean'])} ± {100 * spread['std']:.1f}"


def _classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [
        [row["class"], str(row["clips"]), str(row["runs"]), pair(row["recall"]), pair(row["f1"])]
        for row in rows
    ]
    return [
        "Mean and standard deviation over the runs whose split has clips of the class.",
        "",
        *table(["class", "clips", "runs", "recall", "f1"], cells),
    ]


def _runs(summary: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            Markup(f"[{run['folder']}]({run['folder']}/report.md)"),
            run.get("recipe", summary["recipe"]),
            str(run["best_epoch"]),
            *(percent(run[part][name]) for part in PARTS for name in MAIN_SCORES),
        ]
        for run in summary["runs"]
    ]
    names = [f"{part} {score_name(name)}" for part in PARTS for name in MAIN_SCORES]
    return table(["run", "recipe", "best epoch", *names], rows)
