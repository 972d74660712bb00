"""``featstore runs`` and ``featstore recipes``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.flags import read, write
from pipeline.cli.help import as_json, command
from pipeline.cli.terminal import say, say_json

if TYPE_CHECKING:
    from pipeline.runs.listing import ListedRun


@command(
    examples=(
        "featstore runs",
        "featstore runs runs/lips --part val",
        "featstore runs --format latex > table.tex",
    )
)
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@read("--part", type=click.Choice(["val", "test"]), default="test", show_default=True,
      help="Part whose scores are listed.")  # fmt: skip
@write("--format", "form", type=click.Choice(["table", "csv", "latex"]), default="table",
       show_default=True, help="How the list is printed.")  # fmt: skip
@as_json
def runs(folder: Path, part: str, form: str, as_json: bool) -> None:
    """List the runs below FOLDER with the settings in which they differ, and their scores.

    Settings have the names that `featstore train --set` takes. FOLDER is runs by default.
    """
    from featstore.errors import InputError
    from pipeline.metrics.classification import SCORES
    from pipeline.report.tables import csv_of
    from pipeline.runs.listing import differing, read_run, run_folders, setting

    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; name a folder of runs.")
    listed: list[ListedRun] = []
    for path in run_folders(folder):
        try:
            listed.append(read_run(path))
        except InputError as error:
            say(str(error), err=True)
    names = differing(listed)
    settings = [{name: setting(run, name) for name in names} for run in listed]
    scores = [{name: run.metrics[part][name] for name in SCORES} for run in listed]
    if as_json:
        rows = zip(listed, settings, scores, strict=True)
        say_json(
            {
                "folder": folder,
                "part": part,
                "differing": names,
                "runs": [
                    {"path": run.path, "settings": own, "scores": {part: score}}
                    for run, own, score in rows
                ],
            }
        )
        return
    if not listed:
        say(f"There is no run in {folder}; run `featstore train`.")
        return
    cells = [
        [run.path.relative_to(folder).as_posix(), *own.values(), *score.values()]
        for run, own, score in zip(listed, settings, scores, strict=True)
    ]
    if form == "csv":
        say(csv_of(["run", *names, *SCORES], cells).rstrip("\n"))
        return
    write_as = {"table": _table, "latex": _latex}[form]
    say(write_as(["run", *names], list(SCORES), cells))


def _table(names: Sequence[str], scores: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    from pipeline.build.summary import table
    from pipeline.metrics.classification import score_name
    from pipeline.report.markdown import percent

    width = len(names)
    shown = [[*map(_cell, row[:width]), *map(percent, row[width:])] for row in rows]
    return table([[*names, *map(score_name, scores)], *shown])


def _latex(names: Sequence[str], scores: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a tabular; scores are in percent."""
    from pipeline.metrics.classification import score_name
    from pipeline.report.tables import hundredths, latex

    width = len(names)
    shown = [[*map(_cell, row[:width]), *map(hundredths, row[width:])] for row in rows]
    return latex([*names, *map(score_name, scores)], shown)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[:13] if text.startswith("sha256:") else text


@command(examples=("featstore recipes", "featstore recipes tcn", "featstore recipes my.yaml"))
@click.argument("name", required=False)
@as_json
def recipes(name: str | None, as_json: bool) -> None:
    """List the recipes, or the fields of recipe NAME.

    For each field: its value in this recipe, its default, and its meaning. `featstore train --set`
    changes a field. NAME may also be a YAML file, or auto, whose candidates are listed.
    """
    from pipeline.train.recipes.describe import candidates, fields_of, summaries
    from pipeline.train.recipes.load import load_recipe
    from pipeline.train.recipes.portfolio import AUTO

    if name in (None, AUTO):
        found = summaries() if name is None else candidates()
        if as_json:
            say_json({"recipes": found} if name is None else {"recipe": AUTO, "candidates": found})
        else:
            say(_aligned([list(found[0]), *(list(row.values()) for row in found)]))
        return
    fields = fields_of(load_recipe(name))
    if as_json:
        say_json({"recipe": name, "fields": [field._asdict() for field in fields]})
        return
    rows = [
        [field.name, _cell(field.value), _cell(field.default), field.meaning] for field in fields
    ]
    say(_aligned([["field", "value", "default", "meaning"], *rows]))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns, all to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
