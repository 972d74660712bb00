"""``featstore ls``, ``info``, ``rm`` and ``gc``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.cli.terminal import say

FOLDER = click.Path(path_type=Path, file_okay=False)
STORE = click.option(
    "--store", type=FOLDER, default=Path("features"), show_default=True, help="Folder of stores."
)
ROOT = click.option(
    "--root",
    type=FOLDER,
    default=Path("features"),
    show_default=True,
    help="Folder of stores, where STORE is a key or a name.",
)


@click.command()
@STORE
def ls(store: Path) -> None:
    """List the stores of a folder."""
    from featstore.errors import InputError
    from featstore.format.container import suffix_of
    from featstore.manage.catalogue import entries, unreadable
    from pipeline.cli.store_text import listing

    if suffix_of(store):
        raise InputError(f"--store is {store}, which is a store; give the folder around it.")
    found = list(entries(store))
    damaged = list(unreadable(store))
    if found:
        say(listing(store, found))
    elif not damaged:
        say(f"There is no store in {store}; run `featstore build`.")
    for reason in damaged:
        say(reason)


@click.command()
@click.argument("store")
@ROOT
def info(store: str, root: Path) -> None:
    """Show what a store holds. STORE is its path, or the beginning of its key or name."""
    from featstore.manage.catalogue import find
    from featstore.reading.store import open_store
    from pipeline.cli.store_text import details

    say(details(open_store(find(root, store))))


@click.command()
@click.argument("store")
@ROOT
def verify(store: str, root: Path) -> None:
    """Compare every byte of a store with its checksums; the exit code is 1 if one differs.

    A file that others left in its folder is named, and does not count.

    STORE is its path or URL, or the beginning of its key or name.
    """
    from featstore.manage.catalogue import find
    from featstore.manage.verify import verify as findings

    path = find(root, store)
    found = list(findings(path))
    for finding in found:
        say(str(finding))
    if not all(finding.foreign for finding in found):
        say(f"{path} is damaged: the build command that made it mends it with --repair")
        sys.exit(1)
    say(f"{path} is whole" + (", beside files that are not its own" if found else ""))


@click.command()
@click.argument("store")
@ROOT
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(store: str, root: Path, yes: bool) -> None:
    """Remove a store, after saying which runs used it.

    STORE is its path, or the beginning of its key or name. A store that does not open is named by
    its path or its whole file name. Runs stay.
    """
    from featstore.errors import InputError
    from featstore.manage.leftovers import size_of
    from featstore.manage.provenance import provenance_path
    from featstore.manage.removal import check_free, find_removable, remove_store
    from featstore.text import human_size
    from pipeline.cli.store_text import removal
    from pipeline.runs.register import known_runs

    target = find_removable(root, store)
    check_free(target)
    runs = known_runs(target.path.parent, target.key) if target.key else []
    for line in removal(target, runs):
        say(line)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError(
                f"Nothing was removed: there is no terminal to ask whether to remove {target.path};"
                " say so with --yes."
            )
        click.confirm("Remove it?", abort=True)
    size = size_of(target.path)
    remove_store(target, [provenance_path(target.path)])
    say(f"removed {target.path.name}, {human_size(size)}")


@click.command()
@STORE
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and stop.")
def gc(store: Path, dry_run: bool) -> None:
    """Remove what killed and superseded builds left.

    Stores stay, and so does what a running build holds. Work of a killed build goes too, from
    which the same build would have gone on; --dry-run shows it.
    """
    from featstore.errors import InputError
    from featstore.manage.leftovers import sweep
    from pipeline.cli.store_text import leftover_line, swept

    if not store.is_dir():
        raise InputError(f"There is no folder {store}; name the folder of stores with --store.")
    found = []
    for leftover in sweep(store, dry_run=dry_run):
        say(leftover_line(leftover))
        found.append(leftover)
    say(swept(found, dry_run=dry_run) if found else f"nothing to remove in {store}")
