"""``featstore finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.build.plan.request import build_options
from pipeline.cli.flags import (
    DEVICE,
    OLD_SPLITS,
    OLD_STORE,
    SEED,
    STORES,
    feature_flags,
    how_to_run,
    text,
    write,
)
from pipeline.cli.help import Function, command, heading
from pipeline.cli.terminal import say

tuning = heading("How the weights are trained")
# Fields of `pipeline.finetune.Tuning`; a test holds the defaults together.
TUNING_FLAGS = (
    tuning("--blocks", type=int, default=3, show_default=True,
           help="Number of last blocks that are trained."),
    tuning("--epochs", type=int, default=20, show_default=True, help="Largest number of epochs."),
    tuning("--patience", type=int, default=5, show_default=True,
           help="Stop after this many epochs without improvement on val."),
    tuning("--frames", type=int, default=4, show_default=True,
           help="Frames drawn per training clip and epoch."),
    tuning("--batch-size", type=int, default=64, show_default=True, help="Frames in one batch."),
    tuning("--lr", type=float, default=1e-3, show_default=True,
           help="Largest learning rate, which the classifier has."),
    tuning("--layer-decay", type=float, default=0.7, show_default=True,
           help="Factor on the learning rate from each block to the one before it."),
    tuning("--warmup", type=float, default=1.0, show_default=True,
           help="Epochs in which the learning rates rise."),
    tuning("--weight-decay", type=float, default=0.05, show_default=True,
           help="Weight decay of AdamW; biases and norms have none."),
    tuning("--crop", type=float, default=0.8, show_default=True,
           help="Shortest side of random crops, as a share of the frame; 1 for none."),
    tuning("--light", type=float, default=0.2, show_default=True,
           help="Largest change of brightness and contrast; 0 for none."),
    tuning("--flip", is_flag=True,
           help="Mirror half of the frames. Wrong where classes are mirror images."),
    tuning("--seed", type=SEED, default=0, show_default=True,
           help="Seed of frames, crops and order."),
)  # fmt: skip


def tuning_flags(function: Function, /) -> Function:
    """Add the flags that decide how weights are trained."""
    for flag in reversed(TUNING_FLAGS):
        function = flag(function)
    return function


@command(
    renamed=OLD_STORE | OLD_SPLITS,
    examples=(
        "featstore finetune --split 0 --backbone mobilenet_v2 --out tuned-0.safetensors",
        "featstore build --split 0 --backbone mobilenet_v2 --weights tuned-0.safetensors",
    ),
)
@feature_flags
@STORES
@tuning_flags
@write("--out", type=click.Path(path_type=Path), required=True, metavar="WEIGHTS.safetensors",
       help="The file to write.")  # fmt: skip
@DEVICE
@how_to_run("--max-failures", metavar="N|P%",
            help=text("Stop when more clips than this fail.", "max_failures"))  # fmt: skip
def finetune(out: Path, **given: Any) -> None:
    """Train the last blocks of an image backbone on the frames of a split's training clips.

    Give the flags of the build that will use the weights; --weights names those to start from. An
    interrupted finetuning resumes when the same command runs again. `featstore build --weights`
    then takes the file, and refuses splits that test on subjects it was trained on.
    """
    from pipeline.finetune import Tuning
    from pipeline.finetune import finetune as run
    from pipeline.finetune.options import FIELDS

    options = Tuning(**{name: given.pop(name) for name in FIELDS})
    written = run(build_options(given), options, out=out, log=say)
    say(f"weights {written}")
