"""``featstore predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipeline.cli.flags import DASK, DEVICE, how_to_run, read, write
from pipeline.cli.help import as_json, command, heading
from pipeline.cli.terminal import log_for, say, say_json

FORMATS = ("csv", "jsonl", "parquet")
SMOOTHINGS = ("none", "median", "viterbi", "best")
PIPE = Path("-")
STREAMED = ("window", "hop", "weights", "device")  # options that a stream has as well
windows = heading("Windows and segments")


@command(
    examples=(
        "featstore predict runs/tcn drive.mp4",
        "featstore predict runs/tcn recordings/ --window 3 --hop 0.5 --smooth viterbi",
        "featstore predict runs/tcn test.csv --intervals --out predictions/test",
        "featstore predict runs/tcn drive.mp4 --overlay",
        "featstore predict runs/tcn recordings/ --dask local:4",
        "ffmpeg -i CAMERA -f rawvideo -pix_fmt gray - | "
        "featstore predict runs/tcn - --frames 640x480@30:grey8",
        "featstore predict runs/tcn /dev/video0 --frames 640x480@30",
    ),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="VIDEO|FOLDER|TABLE...|STORE|CAMERA|-",
                type=click.Path(path_type=Path))  # fmt: skip
@read("--unit", type=click.Choice(("frames", "seconds")),
      help="Unit of start and end in a table.  [default: frames]")  # fmt: skip
@read("--frames", metavar="WIDTHxHEIGHT@FPS[:grey8|rgb24]",
      help="Size, rate and format of raw frames; size and rate of a camera.")  # fmt: skip
@read("--camera", metavar="v4l2|avfoundation|dshow",
      help="The input names a camera of this kind.  [default: v4l2 for a device]")  # fmt: skip
@read("--weights", metavar="FILE", multiple=True,
      help="A backbone's weights file, if it has moved; one for each store of RUN.")  # fmt: skip
@windows("--window", type=float, metavar="SECONDS",
         help="Length of a window.  [default: the median of the training clips]")  # fmt: skip
@windows("--hop", type=float, metavar="SECONDS",
         help="From one window to the next.  [default: half a window]")  # fmt: skip
@windows("--intervals", is_flag=True,
         help="Predict each interval of a table instead of sliding windows.")  # fmt: skip
@windows("--smooth", type=click.Choice(SMOOTHINGS), default="median", show_default=True,
         help="How probabilities become segments. viterbi finds the most probable segments of a "
         "least duration; best chooses on a table with labels, such as that of val.")  # fmt: skip
@windows("--smooth-seconds", type=float, metavar="SECONDS",
         help="Width of the median, or least duration.  [default: a window]")  # fmt: skip
@windows("--threshold", type=float, default=0.0, show_default=True,
         help="Leave out segments where the class is less probable.")  # fmt: skip
@write("--out", type=click.Path(path_type=Path), default=Path("predictions"), show_default=True,
       help="Folder of the results. Recordings that it has are skipped.")  # fmt: skip
@write("--format", type=click.Choice(FORMATS), default="csv", show_default=True,
       help="Format of the tables.")  # fmt: skip
@write("--no-pictures", is_flag=True, help="Draw no timelines.")
@write("--overlay", is_flag=True,
       help="Also write each recording as a video with label, probability, attention.")  # fmt: skip
@DASK
@DEVICE
@how_to_run("--workers", type=click.IntRange(1), help="Pieces of videos decoded at once.")
@as_json
def predict(
    run: Path,
    inputs: tuple[Path, ...],
    frames: str | None,
    camera: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict the classes of new recordings with a trained run.

    Windows slide over each recording. Everything that decides features comes from the run. OUT gets
    tables of windows and segments, and for each recording subtitles and a picture. A table with
    start, end and label also scores the predictions. For a STORE, OUT gets a table of its clips.
    `-` and a camera are streams: each window prints a line.
    """
    from pipeline import api
    from pipeline.predict.scores import score_lines

    if frames or camera or inputs == (PIPE,) or _is_device(inputs[0]):
        _live(run, inputs, frames, camera, options, as_json)
        return
    options["pictures"] = not options.pop("no_pictures")
    facts = api.predict(run, inputs, log=log_for(as_json), **options)
    if as_json:
        say_json(facts)
        return
    if "clips" in facts:
        say(f"{facts['clips']} clips in {facts['out']}")
        return
    for line in score_lines(facts["scores"]) if facts["scores"] else ():
        say(line)
    say(
        f"{facts['windows']} windows ({facts['gaps']} gaps) and {facts['segments']} segments of "
        f"{facts['recordings']} recordings in {facts['out']}"
    )


def _is_device(path: Path) -> bool:
    """Tell whether a path is that of a device, such as /dev/video0."""
    return path.is_char_device()


def _live(
    run: Path,
    inputs: tuple[Path, ...],
    frames: str | None,
    camera: str | None,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Print a line for each window of standard input or of a camera."""
    import sys

    from featstore.errors import InputError
    from featstore.text import listed
    from pipeline import api

    first, pipe = inputs[0], inputs[0] == PIPE
    if len(inputs) > 1 or (pipe and camera) or not (pipe or camera or _is_device(first)):
        raise InputError(
            f"The input is {' '.join(map(str, inputs))}; --frames and --camera are for one stream: "
            "`-` for raw frames, or the name of a camera."
        )
    if unused := _unused():
        raise InputError(
            f"{listed(unused)}: a stream prints a line for each window and writes no files; leave "
            "this out, or name a recording."
        )
    source = sys.stdin.buffer if pipe else str(first)
    chosen = {name: options[name] for name in STREAMED}
    chosen |= {"frames": frames, "camera": camera}
    log = log_for(True)  # standard output is for predictions
    for one in api.predict_live(run, source, log=log, **chosen):
        if as_json:
            say_json(one)
        else:
            say(
                f"{one['start']:.3f} to {one['end']:.3f} s  {one['label']}  "
                f"{100 * one['probability']:.0f} %  (after {one['delay']:.3f} s)"
            )
        sys.stdout.flush()


def _unused() -> list[str]:
    """Return the flags of the command line that mean nothing for a stream."""
    context = click.get_current_context()
    meant = (*STREAMED, "frames", "camera", "as_json", "run", "inputs")
    return [
        each.opts[0]
        for each in context.command.params
        if each.name is not None
        and each.name not in meant
        and context.get_parameter_source(each.name) is ParameterSource.COMMANDLINE
    ]
