"""``featstore build`` and ``featstore stats``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.flags import build_options, feature_flags

if TYPE_CHECKING:
    from pipeline.build import Prepared

STORE = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of stores.  [default: features]",
)


@click.command()
@feature_flags
@STORE
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option(
    "--batch-size",
    type=int,
    help="Inputs in a forward; always this many.  [default: 16 frames or 4 windows on "
    "a CPU, 128 or 16 on a GPU]",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with path and key.")
def build(dry_run: bool, as_json: bool, **given: Any) -> None:
    """Extract features of annotated clips into a store.

    Without flags: Drive&Act under data/driveact, view kinect_ir, split 0, resnet18. The last line
    is the store's path and key. A store that is already there is not built again.
    """
    from pipeline import build as stage
    from pipeline.describe import caveats, describe, differs_from, dry_run_table, timing_table

    options = build_options(given)
    cache = stage.cache_of(options.store)
    log = _log(as_json)
    try:
        prepared = stage.prepare(options, cache, log)
        if not prepared.built or dry_run:
            for line in (*describe(prepared), *differs_from(prepared)):
                log(line)
        known, untrained = prepared.dataset.subjects_known, prepared.weights.untrained
        for line in caveats(subjects_known=known, untrained=untrained):
            log(line)
        if dry_run:
            _finish(prepared, as_json, dry_run_table(prepared))
            return
        seconds = stage.build(prepared, cache, log)
    finally:
        cache.close()
    log(timing_table(prepared, seconds) if seconds else "already built: nothing to do")
    _finish(prepared, as_json, None)


@click.command()
@feature_flags
@STORE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(as_json: bool, **given: Any) -> None:
    """Measure mean and std of the pixels of a split's training clips, and nothing else."""
    from pipeline import build as stage
    from pipeline.describe import caveats, describe

    # No weights are needed to look at pixels.
    options = build_options(given | {"weights": "random"})
    cache = stage.cache_of(options.store)
    log = _log(as_json)
    try:
        prepared = stage.prepare(options, cache, log)
        for line in describe(prepared, weights=False):
            log(line)
        for line in caveats(subjects_known=prepared.dataset.subjects_known, untrained=False):
            log(line)
        statistics = stage.measure(prepared, cache, log)
    finally:
        cache.close()
    if as_json:
        click.echo(json.dumps(statistics.as_json()))
        return
    numbers = f"{statistics.frames} frames of {statistics.clips} training clips"
    click.echo(f"measured on {statistics.pixels} pixels of {numbers}")
    mean, std = (",".join(f"{v:.6f}" for v in vs) for vs in (statistics.mean, statistics.std))
    click.echo(f"mean {mean}\nstd  {std}")


def _log(as_json: bool) -> Callable[[str], None]:
    """Return what prints for people: on standard error where a program reads standard output."""
    return lambda line: click.echo(line, err=as_json)


def _finish(prepared: Prepared, as_json: bool, table: str | None) -> None:
    if as_json:
        known, untrained = prepared.dataset.subjects_known, prepared.weights.untrained
        found = {"path": str(prepared.path), "key": prepared.key}
        click.echo(json.dumps({**found, "subjects_known": known, "untrained": untrained}))
    elif table is not None:
        click.echo(table)
    else:
        click.echo(f"{prepared.path} {prepared.key}")
