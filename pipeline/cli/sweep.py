"""``featstore sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.find_stores import find_stores
from pipeline.cli.terminal import say
from pipeline.cli.train import NO_CHECK

if TYPE_CHECKING:
    from featstore import Store


@click.command()
@click.argument("space", type=click.Path(path_type=Path))
@click.option("--store", "stores", multiple=True,
              help="A store, or several, named as for train.  "
              "[default: the only store in features, or the one built last]")  # fmt: skip
@click.option("--allow-missing", is_flag=True,
              help="Leave out clips that some of the stores lack.")  # fmt: skip
@click.option("--trials", type=click.IntRange(1),
              help="How many in all.  [default: as SPACE says]")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True,
              help="Processes on this machine; several have one thread each.")  # fmt: skip
@click.option("--dask", metavar="local:N|ADDRESS|FILE", help="Make trials on N processes here, or "
              "on the workers of the Dask scheduler with this address or file.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True,
              help="Of every training, and of the choice of trials.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder of the sweep.  [default: one below sweeps/]")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--final", "look_at_test", is_flag=True,
              help="Evaluate the winner on test, which is done once.")  # fmt: skip
@NO_CHECK
def sweep(
    space: Path,
    stores: tuple[str, ...],
    allow_missing: bool,
    trials: int | None,
    workers: int,
    dask: str | None,
    seed: int,
    out: Path | None,
    device: str,
    look_at_test: bool,
    no_check: bool,
) -> None:
    """Train a recipe with other values of the fields that SPACE, a YAML file, names.

    Trials are compared by val, and none looks at test. The winner is left as a recipe. The same
    command again goes on where a killed sweep was.
    """
    from pipeline import sweep as stage
    from pipeline.train.data.stores import missing_clips, open_stores

    searched = stage.load_space(space)
    store = open_stores(find_stores(stores, {}), allow_missing=allow_missing, check=not no_check)
    for own in store.stores:
        say(f"store  {own.path} ({own.title})")
    for line in missing_clips(store):
        say(line)
    out = out or Path("sweeps") / f"{space.stem}-{store.key[:8]}"
    winner = stage.sweep(
        store,
        searched,
        out=out,
        trials=trials,
        workers=workers,
        dask=dask,
        seed=seed,
        device=device,
        log=say,
    )
    say(f"winner trial {winner.trial}, {out / 'best.yaml'}")
    say(f"report {out / 'report.md'}")
    if look_at_test:
        _final(store, out, winner.recipe.name, seed, device)


def _final(store: Store, out: Path, recipe: str, seed: int, device: str) -> None:
    """Evaluate the winner, and print how good it is on test."""
    from pipeline.report.markdown import SCORE_NAMES, percent
    from pipeline.runs.files import read_metrics
    from pipeline.runs.register import register_run
    from pipeline.sweep import final

    new = not (out / "final").exists()
    run = final(store, out, device=device, log=say)
    if new:
        register_run(store, run, recipe=recipe, seed=seed, log=say)
    test = read_metrics(run)["test"]
    for key, name in SCORE_NAMES.items():
        say(f"test {name:20} {percent(test[key])}")
    say(f"report {run / 'report.md'}")
