"""``featstore train``, ``featstore evaluate`` and ``featstore report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.find_stores import _find_splits, find_stores
from pipeline.cli.flags import feature_flags
from pipeline.cli.splits import numbers_and_file, several_splits, train_splits
from pipeline.cli.terminal import say
from pipeline.cli.torchrun import refuse_several_runs, together
from pipeline.train.recipes import DEFAULT

NO_CHECK = click.option(
    "--no-check", is_flag=True, help="Do not compare features with their checksums."
)


@click.command()
@click.option("--store", "stores", multiple=True,
              help="A store's path, the beginning of its key or name, or a folder of "
              "stores; repeated, the clips that several stores share.  "
              "[default: the only store in features, or the one built last]")  # fmt: skip
@click.option("--allow-missing", is_flag=True,
              help="Leave out clips that some of the stores lack.")  # fmt: skip
@click.option("--recipe", default=DEFAULT, show_default=True,
              help="baseline, bilstm, linear, mlp, tcn, transformer, attentive, or a "
              "YAML file.")  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE",
              help="Change a field of the recipe: train.lr=3e-4. May be repeated.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--seeds", type=click.IntRange(1),
              help="Train so many times, with --seed and the seeds behind it.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder of the run.  [default: one below runs/]")  # fmt: skip
@click.option("--baseline", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="A run that the report compares with.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@NO_CHECK
@several_splits
@feature_flags
@together
def train(
    stores: tuple[str, ...],
    allow_missing: bool,
    recipe: str,
    overrides: tuple[str, ...],
    seed: int,
    seeds: int | None,
    out: Path | None,
    baseline: Path | None,
    device: str,
    no_check: bool,
    **given: Any,
) -> None:
    """Train a temporal classifier on the features of a store, or of several.

    The same command again goes on where a killed training was, to the same weights. Features are
    compared with their checksums when they are first read.

    The store is named by --store, or found by the flags that it was built with, which reads the
    annotations and looks whether videos have changed. Training itself opens no video.

    With several stores the recipe's data.fusion says how they are joined.

    --seeds and --splits leave one run each in the folder --out, with a report of all of them.

    Processes that torchrun starts train one run together:
    torchrun --standalone --nproc-per-node 2 --no-python featstore train
    """
    from pipeline import api
    from pipeline.system.distributed import processes
    from pipeline.train.data.stores import open_stores
    from pipeline.train.recipes.load import load_recipe

    check = not no_check and processes().checks
    numbers, given["splits"] = numbers_and_file(given["splits"])
    if numbers or seeds is not None:
        refuse_several_runs(processes())
        loaded = load_recipe(recipe, overrides)
        opened = {
            split: open_stores(paths, allow_missing=allow_missing, check=check)
            for split, paths in _find_splits(stores, given, numbers).items()
        }
        every = range(seed, seed + (seeds or 1))
        text = train_splits(opened, loaded, every, out=out, device=device, baseline=baseline)
        say(f"report {text}")
        return
    load_recipe(recipe, overrides)  # a mistake there is said before a store is looked for
    store = open_stores(find_stores(stores, given), allow_missing=allow_missing, check=check)
    for one in store.stores:
        say(f"store  {one.path} ({one.title})")
    folder = api.train(
        store,
        recipe,
        overrides=overrides,
        seed=seed,
        out=out,
        baseline=baseline,
        device=device,
        log=say,
    )
    say(f"report {folder / 'report.md'}")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--store", "stores", multiple=True,
              help="A store of the same features and classes, named as for train; for a run on "
              "several, so many in the same order.  [default: the run's own]")  # fmt: skip
@click.option("--allow-missing", is_flag=True,
              help="Leave out clips that some of the stores lack.")  # fmt: skip
@click.option("--part", type=click.Choice(["train", "val", "test"]), default="test",
              show_default=True)  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@NO_CHECK
def evaluate(
    run: Path,
    stores: tuple[str, ...],
    allow_missing: bool,
    part: str,
    device: str,
    no_check: bool,
) -> None:
    """Print the scores of a trained run on any store of the same features and classes.

    With their confidence intervals, and how far its probabilities can be trusted.
    """
    from pipeline.train.data.stores import missing_clips, open_stores
    from pipeline.train.evaluate import certainty, own_store, rescore
    from pipeline.train.log import scores

    if stores:
        store = open_stores(
            find_stores(stores, {}), allow_missing=allow_missing, check=not no_check
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


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write and print the report of a run, or of a folder of runs, again from its own files."""
    from pipeline.report.run import report as render
    from pipeline.train.seeds import is_summary, summarise

    say(summarise(run).read_text("utf-8") if is_summary(run) else render(run))
