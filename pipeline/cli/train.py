"""``featstore train`` and ``featstore report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.flags import build_options, feature_flags


@click.command()
@click.option("--store", help="A store's path, the beginning of its key or name, or a folder of "
              "stores.  [default: the only store in features, or the one built last]")  # fmt: skip
@click.option("--recipe", default="bilstm", show_default=True,
              help="baseline, bilstm, or a YAML file.")  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE",
              help="Change a field of the recipe: train.lr=3e-4. May be repeated.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder of the run.  [default: one below runs/]")  # fmt: skip
@click.option("--baseline", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="A run that the report compares with.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@feature_flags
def train(
    store: str | None,
    recipe: str,
    overrides: tuple[str, ...],
    seed: int,
    out: Path | None,
    baseline: Path | None,
    device: str,
    **given: Any,
) -> None:
    """Train a temporal classifier on a store's features.

    The store is named by --store, or found by the flags that it was built with, which reads the
    annotations and looks whether videos have changed. Training itself opens no video.
    """
    from featstore.store import open_store
    from pipeline.config import load_recipe

    loaded = load_recipe(recipe, overrides)
    path = _find(store, given)
    opened = open_store(path)
    click.echo(f"store  {path} ({opened.title})")
    from pipeline.train import train as run
    from pipeline.usage import register_run

    folder = run(
        opened,
        loaded,
        out=out or _free(Path("runs") / f"{loaded.name}-{opened.key[:8]}-seed{seed}"),
        seed=seed,
        device=device,
        baseline=baseline,
        log=click.echo,
    )
    register_run(opened, folder, recipe=loaded.name, seed=seed, log=click.echo)
    click.echo(f"report {folder / 'report.md'}")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write and print the report of a run again, from the run's own files."""
    from pipeline.report import report as render

    click.echo(render(run))


def _find(store: str | None, given: dict[str, Any]) -> Path | str:
    """Return the store that --store or the flags of build name."""
    from featstore.catalogue import find
    from featstore.container import suffix_of
    from featstore.errors import InputError, StoreNotFoundError
    from pipeline.options import DEFAULT_STORE_ROOT
    from pipeline.prepare import cache_of, prepare

    named = DEFAULT_STORE_ROOT if store is None else Path(store)
    is_root = store is None or (store.strip() and named.is_dir() and not suffix_of(named))
    if all(value is None for value in given.values()):
        return find(named) if is_root else find(DEFAULT_STORE_ROOT, store)
    if not is_root:
        raise InputError(
            f"--store {store} names one store, and flags of build name another way to find one; "
            "give one of the two, or the folder of stores with --store."
        )
    options = build_options(given, store=named)
    cache = cache_of(named)
    try:
        prepared = prepare(options, cache, click.echo)
    finally:
        cache.close()
    if prepared.existing is None:
        raise StoreNotFoundError(
            f"No store in {named} was built with these flags (its key would begin with "
            f"{prepared.key[:12]}); run `featstore build` with them first."
        )
    return prepared.existing


def _free(path: Path) -> Path:
    """Return `path`, or the first of ``path-2``, ``path-3``, ... that does not exist."""
    number = 2
    free = path
    while free.exists():
        free = path.with_name(f"{path.name}-{number}")
        number += 1
    return free
