"""``featstore ls``, ``info``, ``rm`` and ``gc``."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.flags import FOLDER, OLD_ROOT, OLD_STORE, how_to_run
from pipeline.cli.help import as_json, command
from pipeline.cli.terminal import say, say_json


@command(renamed=OLD_STORE, examples=("featstore ls", "featstore ls --stores features"))
@FOLDER
@as_json
def ls(folder: Path, as_json: bool) -> None:
    """List the stores of a folder."""
    from featstore.errors import InputError
    from featstore.format.container import suffix_of
    from featstore.manage.catalogue import entries, unreadable
    from pipeline.cli.store_facts import entry_facts
    from pipeline.cli.store_text import listing
    from pipeline.runs.register import known_runs

    if suffix_of(folder):
        raise InputError(f"--stores is {folder}, which is a store; give the folder around it.")
    runs = Counter(run.store_key for run in known_runs(folder))
    found = [entry_facts(entry, runs[entry.key]) for entry in entries(folder)]
    damaged = list(unreadable(folder))
    if as_json:
        say_json({"folder": folder, "stores": found, "damaged": damaged})
        return
    if found:
        say(listing(found))
    elif not damaged:
        say(f"There is no store in {folder}; run `featstore build`.")
    for reason in damaged:
        say(reason)


@command(renamed=OLD_ROOT, examples=("featstore info STORE", "featstore info 3f9a02"))
@click.argument("store")
@FOLDER
@as_json
def info(store: str, folder: Path, as_json: bool) -> None:
    """Show what a store holds.

    STORE is its path or URL, or the beginning of its key or name.
    """
    from featstore.manage.catalogue import find
    from featstore.reading.store import open_store
    from pipeline.cli.store_facts import store_facts
    from pipeline.cli.store_text import details

    opened = open_store(find(folder, store))
    if as_json:
        say_json(store_facts(opened))
    else:
        say(details(opened))


@command(renamed=OLD_ROOT, examples=("featstore verify STORE",))
@click.argument("store")
@FOLDER
@as_json
def verify(store: str, folder: Path, as_json: bool) -> None:
    """Compare every byte of a store with its checksums; the exit code is 1 if one differs.

    STORE is its path or URL, or the beginning of its key or name. Foreign files in its folder are
    listed, but do not count as damage.
    """
    from featstore.manage.catalogue import find
    from featstore.manage.verify import verify as findings

    path = find(folder, store)
    found = list(findings(path))
    whole = all(finding.foreign for finding in found)
    if as_json:
        say_json({"path": path, "whole": whole, "findings": [asdict(each) for each in found]})
        sys.exit(0 if whole else 1)
    for finding in found:
        say(str(finding))
    if not whole:
        say(f"{path} is damaged; `featstore build --repair` with the flags of its build mends it")
        sys.exit(1)
    say(f"{path} is whole" + (", and its folder has foreign files" if found else ""))


@command(renamed=OLD_ROOT, examples=("featstore rm STORE", "featstore rm STORE --yes"))
@click.argument("store")
@FOLDER
@how_to_run("--yes", is_flag=True, help="Do not ask.")
def rm(store: str, folder: Path, yes: bool) -> None:
    """Remove a store, after naming the runs that used it. The runs stay.

    STORE is its path, or the beginning of its key or name. Name a damaged store by its path or
    its whole file name.
    """
    from featstore.errors import InputError
    from featstore.manage.leftovers import size_of
    from featstore.manage.provenance import provenance_path
    from featstore.manage.removal import check_free, find_removable, remove_store
    from featstore.text import human_size
    from pipeline.cli.store_text import removal
    from pipeline.runs.register import known_runs

    target = find_removable(folder, store)
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


@command(renamed=OLD_STORE, examples=("featstore gc --dry-run", "featstore gc"))
@FOLDER
@how_to_run("--dry-run", is_flag=True, help="Show what would be removed, and stop.")
def gc(folder: Path, dry_run: bool) -> None:
    """Remove what interrupted and superseded builds left.

    Stores stay, and so do the files of a running build. An interrupted build can no longer resume
    after this; --dry-run shows which.
    """
    from featstore.errors import InputError
    from featstore.manage.leftovers import sweep
    from pipeline.cli.store_text import leftover_line, swept

    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; name the folder of stores with --stores.")
    found = []
    for leftover in sweep(folder, dry_run=dry_run):
        say(leftover_line(leftover))
        found.append(leftover)
    say(swept(found, dry_run=dry_run) if found else f"nothing to remove in {folder}")
