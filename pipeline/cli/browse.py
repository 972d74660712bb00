"""``featstore browse``."""

from __future__ import annotations

from pathlib import Path

import click

from featstore.manage.catalogue import DEFAULT_STORE_ROOT
from pipeline.cli.flags import how_to_run
from pipeline.cli.help import command
from pipeline.cli.terminal import say


@command(examples=("featstore browse", "featstore browse features --port 8000"))
@click.argument("folder", type=click.Path(path_type=Path), default=DEFAULT_STORE_ROOT)
@how_to_run("--port", type=click.IntRange(0, 65535), default=8765, show_default=True,
            help="Port on 127.0.0.1; 0 takes a free one.")  # fmt: skip
def browse(folder: Path, port: int) -> None:
    """Look at the clips of the stores in FOLDER, in a browser on this machine.

    Filter, play and correct clips, see their nearest neighbours and a map of their features, and
    find labels that are likely wrong. FOLDER is features by default.
    """
    from pipeline.browse.server import serve

    serve(folder, port, say)
