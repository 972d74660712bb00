"""``featstore sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.find_stores import find_stores
from pipeline.cli.flags import (
    ALLOW_MISSING,
    DASK,
    DEVICE,
    FOLDER,
    NO_CHECK,
    SEED,
    STORE,
    how_to_run,
    write,
)
from pipeline.cli.help import command, heading
from pipeline.cli.terminal import say

if TYPE_CHECKING:
    from featstore import Store

searched = heading("What to search")


@command(
    examples=(
        "featstore sweep space.yaml --trials 40",
        "featstore sweep space.yaml --store STORE --workers 4 --out sweeps/lips",
        "featstore sweep space.yaml --final",
    ),
)
@click.argument("space", type=click.Path(path_type=Path))
@STORE
@FOLDER
@ALLOW_MISSING
@NO_CHECK
@searched("--trials", type=click.IntRange(1),
          help="Number of trials in all.  [default: as SPACE says]")  # fmt: skip
@searched("--seed", type=SEED, default=0, show_default=True,
          help="Seed of every training, and of the choice of trials.")  # fmt: skip
@searched("--final", "look_at_test", is_flag=True,
          help="Score the winner on test. This is done once.")  # fmt: skip
@write("--out", type=click.Path(path_type=Path),
       help="Folder of the sweep.  [default: one below sweeps/]")  # fmt: skip
@DEVICE
@how_to_run("--workers", type=click.IntRange(1), default=1, show_default=True,
            help="Processes on this machine. Each of several has one thread.")  # fmt: skip
@DASK
def sweep(
    space: Path,
    stores: tuple[str, ...],
    folder: Path,
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
    """Search the recipe fields that SPACE, a YAML file, names.

    Trials are compared on val, and none looks at test. The winner is written as a recipe. An
    interrupted sweep resumes when the same command runs again.
    """
    from pipeline import sweep as stage
    from pipeline.train.data.stores import missing_clips, open_stores

    searched = stage.load_space(space)
    store = open_stores(
        find_stores(stores, folder, {}), allow_missing=allow_missing, check=not no_check
    )
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
