"""``featstore build`` and ``featstore stats``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featstore.errors import InputError
from featstore.format.codecs import COMPRESSIONS
from featstore.text import human_size
from featstore.writing.destinations import SUFFIX_OF
from pipeline.build.plan.request import build_options, each_view, options_of_split
from pipeline.cli.flags import (
    BATCH_SIZE,
    DASK,
    DEVICE,
    MIXED_NUMERICS,
    OLD_SPLITS,
    OLD_STORE,
    PLACE,
    STORES,
    feature_flags,
    how_to_run,
    pixels,
    read,
    text,
    write,
)
from pipeline.cli.help import as_json, command
from pipeline.cli.splits import split_numbers
from pipeline.cli.terminal import log_for, say, say_json

if TYPE_CHECKING:
    from pipeline.api import Built
    from pipeline.build.why import Work

RENAMED = OLD_STORE | OLD_SPLITS


@command(
    renamed=OLD_STORE,
    examples=(
        "featstore build --split 0",
        "featstore build --splits 0,1,2",
        "featstore build --source table --data clips.csv --folds 5 --fold 0",
        "featstore build --source folders --data ucf --backbone mobilenet_v2 --fps 15",
        "featstore build --backbone resnet18 --backbone mobilenet_v2",
        "featstore build --views 4 --view-flip",
        "featstore build --source table --help",
    ),
)
@partial(feature_flags, several=True)
@read("--splits", multiple=True, metavar="N,N,...",
      help="Build each of these splits (with --folds, folds), one store each.")  # fmt: skip
@pixels("--views", type=int, metavar="N",
        help="Also build N - 1 augmented views of every clip, one store each: random crops, "
        "brightness and contrast, the same for all frames of a clip.  [default: 1]")  # fmt: skip
@pixels("--view-flip", is_flag=True, help="Flip half of the clips of an augmented view.")
@PLACE
@write("--format", type=click.Choice(tuple(SUFFIX_OF)), help=text("Format of the store.", "format"))
@write(
    "--compression",
    type=click.Choice(COMPRESSIONS),
    help=text("Compressed features are smaller and slower to read.", "compression"),
)
@DEVICE
@BATCH_SIZE
@DASK
@how_to_run(
    "--max-failures",
    metavar="N|P%",
    help=text("Stop the build when more clips than this fail.", "max_failures"),
)
@how_to_run("--retry-failed", is_flag=True, help="Try the failed clips of a store again.")
@how_to_run("--repair", is_flag=True, help="Recompute the damaged parts of a store.")
@MIXED_NUMERICS
@how_to_run("--dry-run", is_flag=True, help="Show what would be done, and stop.")
@as_json
def build(
    dask: str | None,
    dry_run: bool,
    as_json: bool,
    backbone: tuple[str, ...],
    weights: tuple[str, ...],
    splits: tuple[str, ...],
    views: int | None,
    view_flip: bool,
    **given: Any,
) -> None:
    """Extract the features of annotated clips into a store.

    Without flags it builds Drive&Act under data/driveact: view kinect_ir, split 0, 5 frames per
    second, resnet18. The last line is the store's path and key. An existing store is not built
    again. An interrupted build resumes when the same command runs again.

    Several backbones, each with its weights, decode videos once, and each gets a store. So do the
    splits of --splits and the views of --views. The last lines are those stores, in the same order:
    all splits of the first backbone, then those of the next; of each, the plain picture first.
    """
    from pipeline import api

    numbers, given["split_file"] = split_numbers(splits, given["split_file"])
    several = [{**given, **pair} for pair in _backbones(backbone, weights)]
    if numbers:
        several = [options_of_split(asked, number) for asked in several for number in numbers]
    each = each_view(views, view_flip, like=given["like"])
    several = [{**asked, **view} for asked in several for view in each]
    log = log_for(as_json)
    if len(several) == 1:
        stores = [api.build(several[0], log=log, dask=dask, dry_run=dry_run)]
    else:
        stores = api.build_several(several, log=log, dask=dask, dry_run=dry_run)
    if as_json:
        facts = [_facts(built) for built in stores]
        say_json(facts[0] if len(facts) == 1 else {"stores": facts})
        return
    for built in stores:
        if not dry_run or len(stores) > 1:
            say(f"{built.shown} {built.key}" if built.key else "named after the download")
        if dry_run:
            say(built.dry_run)
    if dry_run and len(stores) > 1:
        say(f"{len(stores)} stores, {human_size(sum(one.planned_bytes for one in stores))} in all")


def _facts(built: Built) -> dict[str, Any]:
    facts = {
        "path": built.shown or None,
        "key": built.key or None,
        "subjects_known": built.subjects_known,
        "untrained": built.untrained,
    }
    return facts | ({"bytes": built.planned_bytes} if built.dry_run else {})


def _backbones(backbones: tuple[str, ...], weights: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the options that backbones differ in, one entry for each.

    Raises
    ------
    InputError
        If there are not as many weights as backbones.
    """
    if len(backbones) < 2:
        weights = weights[-1:]  # the last one counts, as for other flags
    if len(weights) > 1 and len(weights) != len(backbones):
        raise InputError(
            f"--weights is given {len(weights)} times, and --backbone {len(backbones)} times; give "
            "one for each, in the same order."
        )
    if len(weights) == 1 and len(backbones) > 1 and Path(weights[0]).suffix:
        raise InputError(f"--weights is {weights[0]} for {len(backbones)} backbones; repeat it.")
    count = max(1, len(backbones))
    files = weights if len(weights) == count else (weights or (None,)) * count
    return [
        {"backbone": name, "weights": file}
        for name, file in zip(backbones or (None,), files, strict=True)
    ]


@command(
    renamed=RENAMED,
    examples=(
        "featstore why --split 1 --size 96",
        "featstore why STORE --split 1 --size 96",
        "featstore why STORE STORE",
    ),
)
@click.argument("stores", nargs=-1, metavar="[STORE [STORE]]")
@feature_flags
@STORES
@DEVICE
@BATCH_SIZE
@MIXED_NUMERICS
@as_json
def why(stores: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Show in which fields a build differs from a store, and what it would copy and compute.

    Give the flags of the build. It is compared with STORE, by default with the most similar store
    of the folder. Two STOREs are compared with each other.
    """
    from featstore.manage.catalogue import DEFAULT_STORE_ROOT, find
    from featstore.manage.diff import between
    from featstore.reading.store import open_store

    if len(stores) > 2:
        raise click.UsageError(f"Two stores are compared, and {len(stores)} are given.")
    paths = [find(given["store"] or DEFAULT_STORE_ROOT, name) for name in stores]
    if len(paths) < 2:
        _why_build(paths[0] if paths else None, given, as_json)
        return
    difference = between(*map(open_store, paths))
    if as_json:
        say_json({"stores": paths, **asdict(difference)})
        return
    for line in difference.lines():
        say(line)


def _why_build(path: Any, given: dict[str, Any], as_json: bool) -> None:
    from featstore.urls import without_credentials
    from pipeline.build.extract.backbone import load_forward
    from pipeline.build.plan.build_plan import cache_of, plan_build
    from pipeline.build.why import differs_from, unlike, work

    options = build_options(given)
    cache = cache_of(options.store)
    try:
        plan = plan_build(options, cache, log_for(as_json))
        if plan.existing is not None and path is None:
            existing = without_credentials(str(plan.existing))
            if as_json:
                say_json({"existing": existing, "unlike": None, "fields": []} | NO_WORK)
            else:
                say(f"{existing} has exactly this: nothing would be computed")
            return
        if not as_json:
            for line in differs_from(plan, path, cache):
                say(line)
        forward = load_forward(plan.extraction)
        needed = work(plan, cache, forward.numerics)
        if as_json:
            other = unlike(plan, path, cache)
            say_json(
                {
                    "existing": None,
                    "unlike": other.path if other else None,
                    "fields": other.fields if other else [],
                    **_work_facts(needed),
                }
            )
            return
        for line in needed.lines():
            say(line)
    finally:
        cache.close()


NO_WORK = {"measured": True, "copied": [], "computed": {"clips": 0, "steps": 0}}


def _work_facts(needed: Work) -> dict[str, Any]:
    copied = needed.copies.by_store() if needed.copies else ()
    return {
        "measured": needed.copies is not None,
        "copied": [
            {"store": store.path, "clips": clips, "steps": steps} for store, clips, steps in copied
        ],
        "computed": {"clips": needed.clips, "steps": needed.steps},
    }


@command(
    renamed=RENAMED,
    examples=(
        "featstore stats --split 0",
        "featstore stats --source table --data clips.csv --pixels luma --json",
    ),
)
@feature_flags
@STORES
@as_json
def stats(as_json: bool, **given: Any) -> None:
    """Measure mean and standard deviation of the pixels of a split's training clips.

    This is the first step of a build. Nothing is extracted.
    """
    from pipeline.build.extract.statistics import measure
    from pipeline.build.plan.build_plan import cache_of, plan_build
    from pipeline.build.summary import caveats, describe

    # No weights are needed to look at pixels.
    options = build_options(given | {"weights": "random"})
    cache = cache_of(options.store)
    log = log_for(as_json)
    try:
        plan = plan_build(options, cache, log)
        for line in describe(plan, weights=False):
            log(line)
        for line in caveats(subjects_known=plan.dataset.subjects_known, untrained=False):
            log(line)
        statistics = measure(plan.training_pixels, cache, log)
    finally:
        cache.close()
    if as_json:
        say_json(statistics.as_json())
        return
    numbers = f"{statistics.frames} frames of {statistics.clips} training clips"
    say(f"measured on {statistics.pixels} pixels of {numbers}")
    mean, std = (",".join(f"{v:.6f}" for v in vs) for vs in (statistics.mean, statistics.std))
    say(f"mean {mean}\nstd  {std}")
