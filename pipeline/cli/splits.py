"""``--splits N,N,...`` of build and train: its numbers, and a training on each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from featstore.errors import InputError
from pipeline.cli.flags import LAST_SEED
from pipeline.cli.terminal import say
from pipeline.types import Log

if TYPE_CHECKING:
    from featstore.reading.store import Store
    from pipeline.train.recipes.load import Recipe
    from pipeline.train.recipes.portfolio import Portfolio

NUMBERS = re.compile(r"\d+(,\d+)*")


def split_numbers(values: Sequence[str], split_file: Path | None) -> tuple[list[int], Path | None]:
    """Return the numbers of splits, and the table's file, which ``--splits`` may name too.

    Examples
    --------
    >>> split_numbers(["0,2,0"], Path("splits.csv"))
    ([0, 2], PosixPath('splits.csv'))

    Raises
    ------
    InputError
        If either is given twice.
    """
    numbers = [value for value in values if NUMBERS.fullmatch(value)]
    files = [value for value in values if value not in numbers]
    if len(numbers) > 1 or len(files) + (split_file is not None) > 1:
        raise InputError(
            f"--splits is {' and '.join(values)}; give the numbers of splits once, with commas "
            "between, and the table's file once, with --split-file."
        )
    if files:
        say(f"--splits {files[0]} is a file; name files with --split-file.", err=True)
        split_file = Path(files[0])
    unique = dict.fromkeys(int(number) for value in numbers for number in value.split(","))
    return list(unique), split_file


def train_splits(
    stores: dict[int | None, Store],
    recipe: Recipe | Portfolio,
    seeds: Sequence[int],
    *,
    out: Path | None,
    device: str,
    baseline: Path | None,
    trackers: Sequence[str],
    workers: int | None,
) -> Path:
    """Train on the stores of several splits; see `pipeline.train.seeds.train_all`.

    Raises
    ------
    InputError
        If the last seed is too large, or what that raises.
    """
    if seeds[-1] > LAST_SEED:
        raise InputError(
            f"--seeds {len(seeds)} from --seed {seeds[0]} ends with seed {seeds[-1]}, and the "
            f"largest is {LAST_SEED}; give a smaller --seed."
        )
    from pipeline.train.seeds import train_all

    for number, store in stores.items():
        of = "" if number is None else f"split {number}: "
        for own in store.stores:
            say(f"store  {of}{own.path} ({own.title})")

    trainer = partial(
        train_and_register, recipe=recipe, device=device, baseline=baseline, trackers=trackers
    )
    if out is None:
        first = next(iter(stores.values()))
        numbers = [str(number) for number in stores if number is not None]
        name = f"{recipe.name}-{first.key[:8]}-seeds{seeds[0]}to{seeds[-1]}"
        out = Path("runs") / (f"{name}-splits{'.'.join(numbers)}" if numbers else name)
    return train_all(
        stores, recipe, seeds, out=out, trainer=trainer, log=say, device=device, workers=workers
    )


def train_and_register(
    store: Store,
    folder: Path,
    seed: int,
    log: Log,
    *,
    recipe: Recipe | Portfolio,
    device: str,
    baseline: Path | None,
    trackers: Sequence[str],
) -> None:
    """Train one run of several, and register it."""
    from pipeline.runs.register import register_run
    from pipeline.train.train import train

    train(
        store,
        recipe,
        out=folder,
        seed=seed,
        device=device,
        baseline=baseline,
        trackers=trackers,
        log=log,
    )
    register_run(store, folder, recipe=recipe.name, seed=seed, log=log)
