"""``featstore finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.build.plan.request import build_options
from pipeline.cli.flags import STORE, feature_flags
from pipeline.cli.terminal import say

# Fields of `pipeline.finetune.Tuning`; a test holds the defaults together.
TUNING_FLAGS = (
    click.option("--blocks", type=int, default=3, show_default=True,
                 help="How many of the last blocks are trained."),
    click.option("--epochs", type=int, default=20, show_default=True, help="At most so many."),
    click.option("--patience", type=int, default=5, show_default=True,
                 help="Epochs without improvement on val that end the training."),
    click.option("--frames", type=int, default=4, show_default=True,
                 help="Drawn for every training clip in an epoch."),
    click.option("--batch-size", type=int, default=64, show_default=True),
    click.option("--lr", type=float, default=1e-3, show_default=True,
                 help="Highest learning rate, that of the classifier."),
    click.option("--layer-decay", type=float, default=0.7, show_default=True,
                 help="Rate of a block, as a share of that of what follows it."),
    click.option("--warmup", type=float, default=1.0, show_default=True,
                 help="Epochs in which the rates rise."),
    click.option("--weight-decay", type=float, default=0.05, show_default=True),
    click.option("--crop", type=float, default=0.8, show_default=True,
                 help="Shortest side of random crops, as a share; 1 for none."),
    click.option("--light", type=float, default=0.2, show_default=True,
                 help="How much brightness and contrast vary; 0 for none."),
    click.option("--flip", is_flag=True, help="Mirror half of the frames. Not where classes are "
                 "each other's mirror image."),
    click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True),
)  # fmt: skip


def tuning_flags(command: Any) -> Any:
    """Add the flags that decide how weights are trained."""
    for flag in reversed(TUNING_FLAGS):
        command = flag(command)
    return command


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True,
              metavar="WEIGHTS.safetensors", help="The file to write.")  # fmt: skip
@tuning_flags
@feature_flags
@STORE
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option("--max-failures", metavar="N|P%",
              help="Clips that may fail before this stops.  [default: 0]")  # fmt: skip
def finetune(out: Path, **given: Any) -> None:
    """Train the last blocks of an image backbone on a split's training clips, frame by frame.

    Give the flags of the build that is to use it; --weights are those to begin from. The same
    command again goes on where a killed one was. Then `featstore build --weights` takes the file,
    and refuses it for a split that tests on anybody it has seen.
    """
    from pipeline.finetune import Tuning
    from pipeline.finetune import finetune as run
    from pipeline.finetune.options import FIELDS

    tuning = Tuning(**{name: given.pop(name) for name in FIELDS})
    written = run(build_options(given), tuning, out=out, log=say)
    say(f"weights {written}")
