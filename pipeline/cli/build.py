"""``featstore build`` and ``featstore stats``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from pipeline.build.plan.options import BATCH_SIZES
from pipeline.build.plan.request import build_options
from pipeline.cli.flags import DEFAULT, PLACE, STORE, feature_flags
from pipeline.cli.terminal import say


@click.command()
@feature_flags
@PLACE
@click.option("--device", help=f"auto, cpu, cuda or cuda:N.  [default: {DEFAULT.device}]")
@click.option(
    "--batch-size",
    type=int,
    help="Inputs in a forward; always this many.  "
    f"[default: {BATCH_SIZES['cpu', False]} frames or {BATCH_SIZES['cpu', True]} windows on a CPU; "
    f"{BATCH_SIZES['cuda', False]} or {BATCH_SIZES['cuda', True]} on a GPU, or as many as fit]",
)
@click.option("--format", type=click.Choice(["zarr", "hdf5"]),
              help=f"Of the store.  [default: {DEFAULT.format}]")  # fmt: skip
@click.option("--compression", type=click.Choice(["none", "zstd", "blosc"]),
              help="Of the features; slower to read.  "
                 f"[default: {DEFAULT.compression}]")  # fmt: skip
@click.option("--repair", is_flag=True, help="Compute again what a damaged store lost.")
@click.option("--max-failures", metavar="N|P%",
              help="Clips that may fail before the build stops.  "
                 f"[default: {DEFAULT.max_failures}]")  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Try the failed clips of a store again.")
@click.option("--allow-mixed-numerics", is_flag=True, help="Go on from, or copy, features that "
              "other software or hardware computed; their last bits may differ.")  # fmt: skip
@click.option("--dask", metavar="local:N|ADDRESS|FILE", help="Compute on N processes here, or on "
              "the workers of the Dask scheduler with this address or scheduler file.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with path and key.")
def build(dask: str | None, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Extract features of annotated clips into a store.

    Without flags: Drive&Act under data/driveact, view kinect_ir, split 0, resnet18. The last line
    is the store's path and key. A store that is already there is not built again.
    """
    from pipeline import api

    built = api.build(given, log=_log(as_json), dask=dask, dry_run=dry_run)
    if as_json:
        shown = {"path": built.shown, "key": built.key}
        facts = {"subjects_known": built.subjects_known, "untrained": built.untrained}
        say(json.dumps({**shown, **facts}))
    else:
        say(built.dry_run or f"{built.shown} {built.key}")


@click.command()
@click.argument("stores", nargs=-1, metavar="[STORE [STORE]]")
@feature_flags
@STORE
@click.option("--device", help=f"auto, cpu, cuda or cuda:N.  [default: {DEFAULT.device}]")
@click.option("--batch-size", type=int, help="As in `featstore build`.")
@click.option("--allow-mixed-numerics", is_flag=True, help="As in `featstore build`.")
def why(stores: tuple[str, ...], **given: Any) -> None:
    """Say in which fields a build differs from a store, and what it would copy and compute.

    Give the flags of the build, and no STORE for the most similar one of the folder. With two
    STOREs, say in which fields these differ.
    """
    from featstore.manage.catalogue import DEFAULT_STORE_ROOT, find
    from featstore.manage.diff import between
    from featstore.reading.store import open_store

    paths = [find(given["store"] or DEFAULT_STORE_ROOT, name) for name in stores]
    if len(paths) < 2:
        _why_build(paths[0] if paths else None, given)
    elif len(paths) == 2:
        for line in between(*map(open_store, paths)):
            say(line)
    else:
        raise click.UsageError(f"Two stores are compared, and {len(paths)} are given.")


def _why_build(path: Any, given: dict[str, Any]) -> None:
    from featstore.urls import without_credentials
    from pipeline.build.extract.backbone import load_forward
    from pipeline.build.plan.build_plan import cache_of, prepare
    from pipeline.build.why import differs_from, work

    options = build_options(given)
    cache = cache_of(options.store)
    try:
        prepared = prepare(options, cache, say)
        if prepared.existing is not None and path is None:
            existing = without_credentials(str(prepared.existing))
            say(f"{existing} has exactly this: nothing would be computed")
            return
        for line in differs_from(prepared, path, cache):
            say(line)
        forward = load_forward(options, prepared.pixels, prepared.weights)
        for line in work(prepared, cache, forward.numerics):
            say(line)
    finally:
        cache.close()


@click.command()
@feature_flags
@STORE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(as_json: bool, **given: Any) -> None:
    """Measure mean and std of the pixels of a split's training clips, and nothing else."""
    from pipeline.build.extract.statistics import measure
    from pipeline.build.plan.build_plan import cache_of, prepare
    from pipeline.build.summary import caveats, describe

    # No weights are needed to look at pixels.
    options = build_options(given | {"weights": "random"})
    cache = cache_of(options.store)
    log = _log(as_json)
    try:
        prepared = prepare(options, cache, log)
        for line in describe(prepared, weights=False):
            log(line)
        for line in caveats(subjects_known=prepared.dataset.subjects_known, untrained=False):
            log(line)
        statistics = measure(prepared, cache, log)
    finally:
        cache.close()
    if as_json:
        say(json.dumps(statistics.as_json()))
        return
    numbers = f"{statistics.frames} frames of {statistics.clips} training clips"
    say(f"measured on {statistics.pixels} pixels of {numbers}")
    mean, std = (",".join(f"{v:.6f}" for v in vs) for vs in (statistics.mean, statistics.std))
    say(f"mean {mean}\nstd  {std}")


def _log(as_json: bool) -> Callable[[str], None]:
    """Return what prints for people: on standard error where a program reads standard output."""
    return lambda line: say(line, err=as_json)
