"""``featstore train``, ``featstore evaluate`` and ``featstore report``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from featstore.errors import InputError
from pipeline.cli.find_stores import _find_splits, find_stores
from pipeline.cli.flags import (
    ALLOW_MISSING,
    DEVICE,
    FOLDER,
    NO_CHECK,
    SEED,
    STORE,
    VIEWS,
    feature_flags,
    how_to_run,
    read,
    store_flag,
    write,
)
from pipeline.cli.help import as_json, command, heading, hide
from pipeline.cli.splits import split_numbers, train_splits
from pipeline.cli.terminal import log_for, say, say_json, written
from pipeline.cli.torchrun import refuse_several_runs, together
from pipeline.sources.base import SPLITS
from pipeline.train.recipes import DEFAULT

recipe_flag = heading("What to train")


@command(
    examples=(
        "featstore train",
        "featstore train --recipe bilstm --set train.lr=3e-4 --set train.epochs=20",
        "featstore train --store STORE --seeds 5 --splits 0,1,2 --out runs/all",
        "featstore train --source table --data clips.csv --backbone mobilenet_v2",
        "torchrun --standalone --nproc-per-node 2 --no-python featstore train --recipe bilstm",
    ),
)
@STORE
@FOLDER
@VIEWS
@ALLOW_MISSING
@NO_CHECK
@recipe_flag("--recipe", default=DEFAULT, show_default=True, metavar="NAME|FILE.yaml",
             help="`featstore recipes` lists the names and fields.")  # fmt: skip
@recipe_flag("--set", "overrides", multiple=True, metavar="FIELD=VALUE",
             help="Change a field of the recipe. Repeat it to change several.")  # fmt: skip
@recipe_flag("--seed", type=SEED, default=0, show_default=True,
             help="Seed of weights, order and augmentation.")  # fmt: skip
@recipe_flag("--seeds", type=click.IntRange(1), metavar="COUNT",
             help="Number of runs. Their seeds are --seed, --seed + 1, ...")  # fmt: skip
@recipe_flag("--splits", multiple=True, metavar="N,N,...",
             help="Train on each of these splits, one store each.")  # fmt: skip
@write("--out", type=click.Path(path_type=Path),
       help="Folder of the run, or of the runs.  [default: one below runs/]")  # fmt: skip
@write("--baseline", type=click.Path(path_type=Path, exists=True, file_okay=False),
       help="Another run, with which the report compares this one.")  # fmt: skip
@write("--log", "trackers", type=click.Choice(["tensorboard", "mlflow"]), multiple=True,
       help="Also send the scores of every epoch to it. Repeat it for both.")  # fmt: skip
@DEVICE
@how_to_run("--processes", "workers", type=click.IntRange(1),
            help="Processes for the runs of --seeds and --splits, or for the recipes of auto.  "
                 "[default: on a CPU as many as threads]")  # fmt: skip
@hide(feature_flags)
@together
def train(
    stores: tuple[str, ...],
    folder: Path,
    views: int,
    allow_missing: bool,
    recipe: str,
    overrides: tuple[str, ...],
    seed: int,
    seeds: int | None,
    splits: tuple[str, ...],
    out: Path | None,
    baseline: Path | None,
    trackers: tuple[str, ...],
    device: str,
    workers: int | None,
    no_check: bool,
    **given: Any,
) -> None:
    """Train a temporal classifier on the features of a store, or of several.

    Instead of --store, the flags of the build name its store; `featstore build --help` lists them.
    No video is opened. An interrupted training resumes when the same command runs again.

    With several stores, the recipe's data.fusion says how they are joined. --seeds and --splits
    leave one run each in --out, and a report of all of them. The processes that torchrun starts
    train one run together.
    """
    from pipeline import api
    from pipeline.system.distributed import processes
    from pipeline.train.data.stores import open_stores
    from pipeline.train.recipes.portfolio import load_recipes

    check = not no_check and processes().checks
    numbers, given["split_file"] = split_numbers(splits, given["split_file"])
    if numbers or seeds is not None:
        refuse_several_runs(processes())
        loaded = load_recipes(recipe, overrides)
        opened = {
            split: open_stores(paths, allow_missing=allow_missing, check=check)
            for split, paths in _find_splits(stores, folder, given, numbers, views).items()
        }
        every = range(seed, seed + (seeds or 1))
        text = train_splits(
            opened,
            loaded,
            every,
            out=out,
            device=device,
            baseline=baseline,
            trackers=trackers,
            workers=workers,
        )
        say(written(text.parent))
        return
    load_recipes(recipe, overrides)  # a mistake there is said before a store is looked for
    store = open_stores(
        find_stores(stores, folder, given, views), allow_missing=allow_missing, check=check
    )
    for one in store.stores:
        say(f"store  {one.path} ({one.title})")
    run = api.train(
        store,
        recipe,
        overrides=overrides,
        seed=seed,
        out=out,
        baseline=baseline,
        device=device,
        trackers=trackers,
        workers=workers,
        log=say,
    )
    say(written(run))


@command(
    examples=(
        "featstore evaluate runs/tcn",
        "featstore evaluate runs/tcn --store STORE --part val",
    ),
)
@click.argument("run", type=click.Path(path_type=Path))
@store_flag("the one that RUN was trained on")
@FOLDER
@ALLOW_MISSING
@read("--part", type=click.Choice(SPLITS), default="test", show_default=True,
      help="Clips that are scored.")  # fmt: skip
@NO_CHECK
@DEVICE
@as_json
def evaluate(
    run: Path,
    stores: tuple[str, ...],
    folder: Path,
    allow_missing: bool,
    part: str,
    device: str,
    no_check: bool,
    as_json: bool,
) -> None:
    """Score a trained run on the clips of a store.

    Without --store, this is the store that RUN was trained on. Another store must have the same
    features and classes. For a run on several stores, name as many in the same order.
    """
    from pipeline.train.data.stores import missing_clips, open_stores
    from pipeline.train.evaluate import certainty, own_store, rescore
    from pipeline.train.log import scores

    if stores:
        store = open_stores(
            find_stores(stores, folder, {}), allow_missing=allow_missing, check=not no_check
        )
    else:
        store = own_store(run, check=not no_check)
    log = log_for(as_json)
    for each in store.stores:
        log(f"store  {each.path} ({each.title})")
    for line in missing_clips(store):
        log(line)
    predictions = rescore(run, store, part, device=device)
    sure = certainty(run, store, part, predictions)
    if as_json:
        metrics = predictions.metrics
        say_json(
            {
                "run": run,
                "stores": [{"path": each.path, "key": each.key} for each in store.stores],
                "part": part,
                "clips": metrics.clips,
                "classes_with_support": metrics.classes_with_support,
                "loss": predictions.loss,
                **metrics.scores,
                "intervals": sure.intervals,
                "temperature": sure.temperature,
                "calibration": sure.errors,
            }
        )
        return
    for line in [*scores(part, predictions.metrics, predictions.loss), *sure.lines()]:
        say(line)


@command(
    examples=(
        "featstore report runs/tcn",
        "featstore report runs/tcn --videos /data/videos",
        "featstore report runs/tcn --figures pdf --format latex > table.tex",
        "featstore report runs/tcn --json",
    )
)
@click.argument("run", type=click.Path(path_type=Path))
@read("--videos", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="FOLDER",
      help="Folder of the videos, if they have moved.")  # fmt: skip
@read("--no-frames", is_flag=True, help="Open no video: the page shows no frames.")
@write("--figures", "kind", type=click.Choice(["png", "svg", "pdf"]),
       help="Also draw the figures again, in this format.")  # fmt: skip
@write("--format", "form", type=click.Choice(["md", "html", "latex", "csv"]), default="md",
       show_default=True, help="What to print: a report, or tables.")  # fmt: skip
@as_json
def report(
    run: Path, videos: Path | None, no_frames: bool, kind: str | None, form: str, as_json: bool
) -> None:
    """Write the report of a run, or of a folder of runs, again, and print it.

    The numbers come from the run's files. The page of a run also shows frames of its clips, where
    the store and the videos are still there.
    """
    from pipeline.report import tables
    from pipeline.runs.files import read_metrics
    from pipeline.train.seeds import is_summary, read_summary, summarise

    log = log_for(True)
    if several := is_summary(run):
        if kind:
            raise InputError(f"--figures: {run} holds several runs; name one of them.")
        summarise(run)
    else:
        _rewrite(run, videos, frames=not no_frames, kind=kind, log=log)
    metrics = read_summary(run) if several else read_metrics(run)
    log(written(run))
    if as_json:
        pages = {"report": run / "report.md", "page": run / "report.html"}
        say_json({"run": run, **pages, "metrics": metrics})
    elif form == "latex":
        say(tables.runs_latex(metrics) if several else tables.run_latex(metrics))
    elif form == "csv":
        say((tables.runs_csv(metrics) if several else tables.run_csv(metrics)).rstrip("\n"))
    else:
        say((run / f"report.{form}").read_text("utf-8"))


def _rewrite(
    run: Path, videos: Path | None, *, frames: bool, kind: str | None, log: Callable[[str], None]
) -> None:
    """Write the report of one run again, and its figures if `kind` says how."""
    from pipeline.report.run import report as render

    if kind:
        from pipeline.train.redraw import redraw

        for path in redraw(run, kind, log=log):
            log(f"figure {path}")
    draw = None
    if frames:
        from pipeline.predict.strips import draw_strips

        draw = partial(draw_strips, run, videos=videos, log=log)
    render(run, draw)
