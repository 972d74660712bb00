"""``featstore export-model``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.flags import read
from pipeline.cli.help import as_json, command
from pipeline.cli.terminal import log_for, say, say_json


@command(
    "export-model",
    examples=("featstore export-model runs/tcn exported --video drive.mp4",),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@read("--video", required=True, type=click.Path(path_type=Path, exists=True),
      help="A recording like those that the model is for: it gives the size of frames, and windows "
      "to compare the models on.")  # fmt: skip
@read("--window", type=float, metavar="SECONDS",
      help="Length of a window.  [default: the median of the training clips]")  # fmt: skip
@read("--weights", metavar="FILE", help="The backbone's weights file, if it has moved.")
@as_json
def export_model(
    run: Path,
    folder: Path,
    video: Path,
    window: float | None,
    weights: str | None,
    as_json: bool,
) -> None:
    """Write a run as ONNX and torch.export models for other programs, with a model card.

    DIR gets the head alone (features in), and backbone and head (uint8 frames in), both with
    probabilities out. They are compared with the run on windows of the video.
    """
    from pipeline.deploy.export import export_model as write

    log = log_for(as_json)
    facts = write(run, folder, video, window=window, weights=weights, log=log)
    if as_json:
        say_json(facts)
    else:
        say(f"{facts['out']}: compared on {facts['windows']} windows; see {facts['out']}/README.md")
