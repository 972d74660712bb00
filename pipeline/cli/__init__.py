"""The command line. Every command's work is imported inside it, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from featstore.errors import FeatstoreError
from featstore.extras import missing_packages
from featstore.urls import without_credentials
from pipeline.cli.browse import browse
from pipeline.cli.build import build, stats, why
from pipeline.cli.compare import compare
from pipeline.cli.config import config
from pipeline.cli.config_file import FILE, read_defaults
from pipeline.cli.convert import export, import_
from pipeline.cli.demo import demo_data
from pipeline.cli.doctor import doctor
from pipeline.cli.export_model import export_model
from pipeline.cli.finetune import finetune
from pipeline.cli.help import PREFIX
from pipeline.cli.init import init
from pipeline.cli.predict import predict
from pipeline.cli.runs import recipes, runs
from pipeline.cli.stores import gc, info, ls, rm, verify
from pipeline.cli.sweep import sweep
from pipeline.cli.terminal import say
from pipeline.cli.train import evaluate, report, train
from pipeline.system.out_of_memory import is_out_of_memory
from pipeline.system.out_of_memory import sentence as out_of_memory_sentence


class Group(click.Group):
    """Lists commands in sections, and shows a user's mistake as one sentence with exit code 2."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections, in the order in which they are used."""
        width = formatter.width - 15
        for title, members in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(c.name), c.get_short_help_str(width)) for c in members])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; errors that a user can mend lose their traceback."""
        try:
            return super().invoke(ctx)
        except FeatstoreError as error:
            message = str(error)
        except ModuleNotFoundError as error:
            sentence = missing_packages(ctx.invoked_subcommand or "", error)
            if sentence is None:
                raise
            message = sentence
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            message = out_of_memory_sentence(ctx.invoked_subcommand or "", error)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            message = without_credentials(f"{place}{error.strerror or error}")
        say(f"Error: {message if message.endswith(('.', '?')) else message + '.'}", err=True)
        if ctx.default_map and ctx.invoked_subcommand in ctx.default_map:
            say(
                f"{ctx.obj} has defaults for this command: `featstore config` shows them.", err=True
            )
        sys.exit(2)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="featstore")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    envvar=f"{PREFIX}CONFIG",
    help=f"Defaults for the flags of commands.  [default: {FILE}, if it exists]",
)
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """Extract video features for action recognition once, train on them many times.

    First `featstore build` turns annotated videos into a store of features. Then `featstore train`
    trains on the store, as often as you like, without opening a video.
    """
    if config is not None or FILE.is_file():
        ctx.obj = config or FILE
        ctx.default_map = read_defaults(ctx.obj, main.commands)
    # By default torch's threads spin for milliseconds while they wait for each other, and take the
    # processor from whatever else runs here; so short a spin costs nothing where nothing does. Read
    # by GNU's OpenMP library when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")


SECTIONS = {
    "Begin": (demo_data, init, config, doctor),
    "Make features": (build, finetune, import_),
    "Train": (train, recipes, sweep, evaluate, runs, compare, report),
    "Use what was trained": (predict, export_model),
    "Look after stores": (ls, info, browse, why, stats, verify, export, rm, gc),
}
for members in SECTIONS.values():
    for command in members:
        main.add_command(command)
