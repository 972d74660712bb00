"""``featstore compare``."""

from __future__ import annotations

import click

from pipeline.cli.flags import SEED, how_to_run, read
from pipeline.cli.help import as_json, command
from pipeline.cli.terminal import say, say_json


@command(
    examples=(
        "featstore compare runs/baseline runs/tcn",
        "featstore compare runs/baseline-seeds runs/tcn-seeds --part val",
        "featstore compare runs/a-0,runs/a-1 runs/b-0,runs/b-1",
    ),
)
@click.argument("runs", nargs=-1, required=True)
@read("--part", type=click.Choice(["val", "test"]), default="test", show_default=True)
@how_to_run("--seed", type=SEED, default=0, show_default=True, help="Seed of the bootstrap.")
@as_json
def compare(runs: tuple[str, ...], part: str, seed: int, as_json: bool) -> None:
    """Test whether runs differ by more than chance, and on which classes.

    Every RUN is compared with the first one on the same clips. A folder of runs, or runs with
    commas between, such as the seeds of a recipe, count as one.
    """
    from pipeline import api

    differences, text = api.compare(runs, part=part, seed=seed)
    if not as_json:
        say(text)
        return
    first = differences[0].first
    say_json(
        {
            "part": part,
            "clips": len(first.clips),
            "subjects": differences[0].subjects,
            "first": {"name": first.name, "runs": first.runs},
            "others": [
                {
                    "name": each.other.name,
                    "runs": each.other.runs,
                    "better": each.better,
                    "worse": each.worse,
                    "p": each.p,
                    "scores": {
                        name: {**score, "holds": each.holds(name)}
                        for name, score in each.scores.items()
                    },
                    "classes": each.classes,
                }
                for each in differences
            ],
        }
    )
