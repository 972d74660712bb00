"""``featstore train --seeds N --splits N,N``: which stores these are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from featstore.errors import InputError
from pipeline.cli.terminal import say

if TYPE_CHECKING:
    from featstore.reading.store import Store
    from pipeline.train.recipes.load import Recipe

Command = TypeVar("Command", bound=Callable[..., Any])
LAST_SEED = 2**63 - 1  # as --seed has it
NUMBERS = re.compile(r"\d+(,\d+)*")


def several_splits(command: Command) -> Command:
    """Let ``--splits``, a table's file, also take the numbers of splits; both may be given."""
    options = command.__click_params__  # type: ignore[attr-defined]
    (place,) = (i for i, option in enumerate(options) if option.name == "splits")
    help_text = (
        f"Numbers of splits, such as 0,1,2: train on the store of each.  {options[place].help}"
    )
    options[place] = click.Option(
        ["--splits"], multiple=True, metavar="N,N,...|FILE", help=help_text
    )
    return command


def numbers_and_file(values: Sequence[str]) -> tuple[list[int], Path | None]:
    """Tell the numbers of splits from the file.

    Examples
    --------
    >>> numbers_and_file(["splits.csv", "0,2"])
    ([0, 2], PosixPath('splits.csv'))

    Raises
    ------
    InputError
        If either is given twice.
    """
    numbers = [value for value in values if NUMBERS.fullmatch(value)]
    files = [value for value in values if value not in numbers]
    if len(numbers) > 1 or len(files) > 1:
        raise InputError(
            f"--splits is given as {', '.join(values)}; give numbers with commas between once, "
            "and the table's file once."
        )
    own = list(dict.fromkeys(int(number) for value in numbers for number in value.split(",")))
    return own, Path(files[0]) if files else None


def flags_of_split(given: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the flags of build for one split, or for one fold where there are folds.

    In ``--weights`` its number stands for ``{split}``: finetuned ones belong to one split.

    Raises
    ------
    InputError
        If the flags already say which one.
    """
    field = "split" if given.get("folds") is None else "fold"
    if given.get(field) is not None:
        raise InputError(
            f"--{field} {given[field]} and --splits both say what to train on; leave one out."
        )
    weights = given.get("weights")
    named = {"weights": weights.replace("{split}", str(number))} if weights else {}
    return {**given, field: number, **named}


def train_splits(
    stores: dict[int | None, Store],
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    out: Path | None,
    device: str,
    baseline: Path | None,
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
    from pipeline.runs.register import register_run
    from pipeline.train.seeds import train_all
    from pipeline.train.train import train

    for number, store in stores.items():
        of = "" if number is None else f"split {number}: "
        for own in store.stores:
            say(f"store  {of}{own.path} ({own.title})")

    def trainer(store: Any, folder: Path, seed: int) -> None:
        train(store, recipe, out=folder, seed=seed, device=device, baseline=baseline, log=say)
        register_run(store, folder, recipe=recipe.name, seed=seed, log=say)

    if out is None:
        first = next(iter(stores.values()))
        numbers = [str(number) for number in stores if number is not None]
        name = f"{recipe.name}-{first.key[:8]}-seeds{seeds[0]}to{seeds[-1]}"
        out = Path("runs") / (f"{name}-splits{'.'.join(numbers)}" if numbers else name)
    return train_all(stores, recipe, seeds, out=out, trainer=trainer, log=say)
