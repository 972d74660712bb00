"""The one place where commands print."""

from __future__ import annotations

import click

from featstore.text import visible


def say(text: str, *, err: bool = False) -> None:
    """Print a text with its control characters shown and not sent, but for line breaks.

    A name from annotations or of a file could else move the cursor, hide what was printed or
    change the title of a window.

    Parameters
    ----------
    text : str
    err : bool
        On standard error.
    """
    click.echo(visible(text, keep="\n"), err=err)
