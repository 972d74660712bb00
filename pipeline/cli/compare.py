"""``featstore compare``."""

from __future__ import annotations

import click

from pipeline.cli.terminal import say


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--part", type=click.Choice(["val", "test"]), default="test", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True,
              help="Of the bootstrap.")  # fmt: skip
def compare(runs: tuple[str, ...], part: str, seed: int) -> None:
    """Say whether runs differ by more than chance, and on which classes.

    Every RUN is compared with the first on the same clips. A folder of runs, or runs with commas
    between, such as the seeds of a recipe, count as one.
    """
    from pipeline import api

    _, text = api.compare(runs, part=part, seed=seed)
    say(text)
