"""The command line. Every command's work is imported inside it, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from featstore.errors import FeatstoreError
from featstore.urls import without_credentials
from pipeline.cli.build import build, stats, why
from pipeline.cli.compare import compare
from pipeline.cli.convert import export, import_
from pipeline.cli.demo import demo_data
from pipeline.cli.finetune import finetune
from pipeline.cli.stores import gc, info, ls, rm, verify
from pipeline.cli.sweep import sweep
from pipeline.cli.terminal import say
from pipeline.cli.train import evaluate, report, train
from pipeline.system.out_of_memory import is_out_of_memory, sentence


class Group(click.Group):
    """Shows a user's mistake as one sentence, with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; errors that a user can mend lose their traceback."""
        try:
            return super().invoke(ctx)
        except FeatstoreError as error:
            message = str(error)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            message = sentence(ctx.invoked_subcommand or "", error)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            message = without_credentials(f"{place}{error.strerror or error}")
        say(f"Error: {message if message.endswith(('.', '?')) else message + '.'}", err=True)
        sys.exit(2)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="featstore")
def main() -> None:
    """Video features for action recognition, extracted once and trained on for ever.

    First `featstore build` turns annotated videos into a store of features; then `featstore train`
    trains on it, again and again, without opening a video.
    """
    # By default torch's threads spin for milliseconds while they wait for each other, and take the
    # processor from whatever else runs here; so short a spin costs nothing where nothing does. Read
    # by GNU's OpenMP library when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")


for command in (
    build,
    finetune,
    train,
    sweep,
    evaluate,
    compare,
    stats,
    why,
    ls,
    info,
    verify,
    rm,
    gc,
    export,
    import_,
    report,
    demo_data,
):
    main.add_command(command)
