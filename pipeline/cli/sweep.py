"""``featstore sweep``."""

from __future__ import annotations

from collections.abc import Callable
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
    VIEWS,
    how_to_run,
    write,
)
from pipeline.cli.help import as_json, command, heading
from pipeline.cli.terminal import log_for, say_json, written

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
@VIEWS
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
@as_json
def sweep(
    space: Path,
    stores: tuple[str, ...],
    folder: Path,
    views: int,
    allow_missing: bool,
    trials: int | None,
    workers: int,
    dask: str | None,
    seed: int,
    out: Path | None,
    device: str,
    look_at_test: bool,
    no_check: bool,
    as_json: bool,
) -> None:
    """Search the recipe fields that SPACE, a YAML file, names.

    Trials are compared on val, and none looks at test. The winner is written as a recipe. An
    interrupted sweep resumes when the same command runs again.
    """
    from pipeline import sweep as stage
    from pipeline.train.data.stores import missing_clips, open_stores

    searched = stage.load_space(space)
    store = open_stores(
        find_stores(stores, folder, {}, views), allow_missing=allow_missing, check=not no_check
    )
    log = log_for(as_json)
    for each in store.stores:
        log(f"store  {each.path} ({each.title})")
    for line in missing_clips(store):
        log(line)
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
        log=log,
    )
    log(f"winner trial {winner.trial}, {out / 'best.yaml'}")
    log(written(out))
    run = _final(store, out, winner.recipe.name, seed, device, log) if look_at_test else None
    if as_json:
        say_json(
            {
                "folder": out,
                "report": out / "report.md",
                "recipe": out / "best.yaml",
                "winner": {
                    "trial": winner.trial,
                    "monitor": winner.recipe.train.monitor,
                    "score": winner.score,
                    "recipe": winner.recipe.model_dump(),
                },
                "final": {"run": run, "test": _test_scores(run)} if run else None,
            }
        )


def _final(
    store: Store, out: Path, recipe: str, seed: int, device: str, log: Callable[[str], None]
) -> Path:
    """Evaluate the winner, and print how good it is on test."""
    from pipeline.metrics.classification import score_name
    from pipeline.report.markdown import percent
    from pipeline.runs.register import register_run
    from pipeline.sweep import final

    new = not (out / "final").exists()
    run = final(store, out, device=device, log=log)
    if new:
        register_run(store, run, recipe=recipe, seed=seed, log=log)
    for key, score in _test_scores(run).items():
        log(f"test {score_name(key):20} {percent(score)}")
    log(written(run))
    return run


def _test_scores(run: Path) -> dict[str, float | None]:
    from pipeline.metrics.classification import SCORES
    from pipeline.runs.files import read_metrics

    test = read_metrics(run)["test"]
    return {name: test[name] for name in SCORES}
