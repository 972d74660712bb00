"""``featstore compare``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.flags import SEED, how_to_run, read, write
from pipeline.cli.help import as_json, command
from pipeline.cli.terminal import log_for, say, say_json


@command(
    examples=(
        "featstore compare runs/baseline runs/tcn",
        "featstore compare runs/baseline-seeds runs/tcn-seeds --part val",
        "featstore compare runs/a-0,runs/a-1 runs/b-0,runs/b-1",
        "featstore compare runs/baseline runs/tcn --out comparison.html",
    ),
)
@click.argument("runs", nargs=-1, required=True)
@read("--part", type=click.Choice(["val", "test"]), default="test", show_default=True,
      help="Part whose clips are compared.")  # fmt: skip
@how_to_run("--seed", type=SEED, default=0, show_default=True, help="Seed of the bootstrap.")
@write("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.html",
       help="Also write a page, with the clips that moved.")  # fmt: skip
@as_json
def compare(runs: tuple[str, ...], part: str, seed: int, out: Path | None, as_json: bool) -> None:
    """Test whether runs differ by more than chance, and on which classes.

    Every RUN is compared with the first one on the same clips. A folder of runs, or runs with
    commas between, such as the seeds of a recipe, count as one.
    """
    from featstore.errors import InputError
    from featstore.format.files import write_text
    from pipeline import api
    from pipeline.report.html_comparison import page

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: is no page; name a file that ends in .html.")
    differences, text = api.compare(runs, part=part, seed=seed)
    if out is not None:
        write_text(out, page(differences, part))
        log_for(True)(f"page {out}")
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
