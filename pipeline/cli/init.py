"""``featstore init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.config_file import FILE
from pipeline.cli.help import command
from pipeline.cli.terminal import say

if TYPE_CHECKING:
    from pipeline.cli.first_look import Look

HEAD = """\
# Defaults for the flags of featstore in this folder. A flag on the command line comes first, then
# the environment (FEATSTORE_BUILD_FPS=5), then this file. `featstore config` shows what counts.
"""
# Flags that people change next, with their defaults.
BUILD_NEXT = (
    ("backbone", "resnet18", "or mobilenet_v2, ..., timm:NAME"),
    ("weights", "default", "ImageNet's, downloaded once; or a file, or random"),
    ("size", 224, "side of the backbone's input, in pixels"),
)
REST = """
train:
  # recipe: auto           # val chooses; `featstore recipes` lists others
  # seed: 0

predict:
  # smooth: median         # or viterbi, none, best

# stores: features         # for every command
# device: auto             # or cpu, cuda, cuda:N
"""


@command(examples=("featstore init videos", "featstore init clips.csv"))
@click.argument("data", type=click.Path(path_type=Path), default=Path(), metavar="[FOLDER|TABLE]")
def init(data: Path) -> None:
    """Look at a folder of videos, or a table, and write featstore.yaml: defaults for flags.

    It recognises class folders, tables, Drive&Act, lists, OpenLABEL and projects of BORIS.

    The file is commented, and lies in the current folder; commands that run there read it. An
    existing file is never overwritten.
    """
    from featstore.errors import InputError
    from featstore.format.files import replacing, write_text
    from pipeline.cli.first_look import look_at

    if FILE.exists():
        raise InputError(f"{FILE} exists, and is not overwritten; edit it, or move it away.")
    look = look_at(data)
    with replacing(FILE) as temporary:
        write_text(temporary, text_of(look))
    say(look.summary)
    for note in look.dataset.notes:
        say(note)
    say(f"Wrote {FILE}. Look it through, then run: featstore build --dry-run")


def text_of(look: Look) -> str:
    """Return the content of the file."""
    lines = [HEAD, f"# {look.summary}", "build:  # stats, why and finetune read it as well"]
    lines += [_line(name, value, comment) for name, (value, comment) in look.flags.items()]
    lines += [
        _line(f"# {name}", value, comment)
        for name, value, comment in BUILD_NEXT
        if name not in look.flags
    ]
    return "\n".join(lines) + "\n" + REST


def _line(name: str, value: Any, comment: str) -> str:
    import yaml

    scalar = yaml.safe_dump(value, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
    text = f"  {name}: {scalar}"
    return f"{text:<26} # {comment}" if comment else text
