"""``featstore train``, ``featstore evaluate`` and ``featstore report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.find_stores import _find_splits, find_stores
from pipeline.cli.flags import (
    ALLOW_MISSING,
    DEVICE,
    FOLDER,
    NO_CHECK,
    SEED,
    STORE,
    feature_flags,
    read,
    write,
)
from pipeline.cli.help import command, heading, hide
from pipeline.cli.splits import split_numbers, train_splits
from pipeline.cli.terminal import say
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
        "torchrun --standalone --nproc-per-node 2 --no-python featstore train",
    ),
)
@STORE
@FOLDER
@ALLOW_MISSING
@NO_CHECK
@recipe_flag("--recipe", default=DEFAULT, show_default=True, metavar="NAME|FILE.yaml",
             help="`featstore recipes` lists the names and fields.")  # fmt: skip
@recipe_flag("--set", "overrides", multiple=True, metavar="FIELD=VALUE",
             help="Change a field of the recipe. Repeat it to change several.")  # fmt: skip
@recipe_flag("--seed", type=SEED, default=0, show_default=True)
@recipe_flag("--seeds", type=click.IntRange(1), metavar="COUNT",
             help="Number of runs. Their seeds are --seed, --seed + 1, ...")  # fmt: skip
@recipe_flag("--splits", multiple=True, metavar="N,N,...",
             help="Train on each of these splits, one store each.")  # fmt: skip
@write("--out", type=click.Path(path_type=Path),
       help="Folder of the run, or of the runs.  [default: one below runs/]")  # fmt: skip
@write("--baseline", type=click.Path(path_type=Path, exists=True, file_okay=False),
       help="Another run, with which the report compares this one.")  # fmt: skip
@DEVICE
@hide(feature_flags)
@together
def train(
    stores: tuple[str, ...],
    folder: Path,
    allow_missing: bool,
    recipe: str,
    overrides: tuple[str, ...],
    seed: int,
    seeds: int | None,
    splits: tuple[str, ...],
    out: Path | None,
    baseline: Path | None,
    device: str,
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
    from pipeline.train.recipes.load import load_recipe

    check = not no_check and processes().checks
    numbers, given["split_file"] = split_numbers(splits, given["split_file"])
    if numbers or seeds is not None:
        refuse_several_runs(processes())
        loaded = load_recipe(recipe, overrides)
        opened = {
            split: open_stores(paths, allow_missing=allow_missing, check=check)
            for split, paths in _find_splits(stores, folder, given, numbers).items()
        }
        every = range(seed, seed + (seeds or 1))
        text = train_splits(opened, loaded, every, out=out, device=device, baseline=baseline)
        say(f"report {text}")
        return
    load_recipe(recipe, overrides)  # a mistake there is said before a store is looked for
    store = open_stores(
        find_stores(stores, folder, given), allow_missing=allow_missing, check=check
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
        log=say,
    )
    say(f"report {run / 'report.md'}")


@command(
    examples=(
        "featstore evaluate runs/tcn",
        "featstore evaluate runs/tcn --store STORE --part val",
    ),
)
@click.argument("run", type=click.Path(path_type=Path))
@STORE
@FOLDER
@ALLOW_MISSING
@read("--part", type=click.Choice(SPLITS), default="test", show_default=True)
@NO_CHECK
@DEVICE
def evaluate(
    run: Path,
    stores: tuple[str, ...],
    folder: Path,
    allow_missing: bool,
    part: str,
    device: str,
    no_check: bool,
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
    for own in store.stores:
        say(f"store  {own.path} ({own.title})")
    for line in missing_clips(store):
        say(line)
    found = rescore(run, store, part, device=device)
    for line in [*scores(part, found.metrics, found.loss), *certainty(run, store, part, found)]:
        say(line)


@command(examples=("featstore report runs/tcn",))
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write the report of a run, or of a folder of runs, again, and print it.

    It is made of the run's files alone.
    """
    from pipeline.report.run import report as render
    from pipeline.train.seeds import is_summary, summarise

    say(summarise(run).read_text("utf-8") if is_summary(run) else render(run))
