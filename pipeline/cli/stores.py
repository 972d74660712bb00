"""``featstore ls`` and ``featstore info``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("features"),
    show_default=True,
    help="Folder of stores.",
)
def ls(store: Path) -> None:
    """List the stores of a folder."""
    from featstore.catalogue import entries, unreadable
    from pipeline.describe import listing

    found = list(entries(store))
    damaged = list(unreadable(store))
    if found:
        click.echo(listing(found))
    elif not damaged:
        click.echo(f"There is no store in {store}; run `featstore build`.")
    for reason in damaged:
        click.echo(reason)


@click.command()
@click.argument("store")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("features"),
    show_default=True,
    help="Folder of stores, where STORE is a key or a name.",
)
def info(store: str, root: Path) -> None:
    """Show what a store holds. STORE is its path, or the beginning of its key or name."""
    from featstore.catalogue import find
    from featstore.store import open_store
    from pipeline.describe import details

    click.echo(details(open_store(find(root, store))))
