"""Checks of a build: weights, free disk space, number of failures."""

from __future__ import annotations

from collections.abc import Mapping

from featstore.errors import InputError
from featstore.format.layout import Layout
from featstore.writing.destinations import check_room, store_bytes
from pipeline.build.plan.build_plan import BuildPlan
from pipeline.build.plan.clips import NOT_FINITE
from pipeline.video.cache import Cache


def check_failures(plan: BuildPlan, failed: Mapping[int, str]) -> None:
    """Raise if more clips failed than --max-failures allows.

    Raises
    ------
    InputError
    """
    most = plan.options.max_failures.of(len(plan.clips))
    failed = {**plan.lost, **failed}
    if len(failed) > most:
        number, reason = next(iter(failed.items()))
        clip = plan.clips[number]
        count = f"{len(failed)} of {len(plan.clips)} clips failed"
        if reason == NOT_FINITE:
            raise InputError(
                f"{count}: the features of clip {clip.clip_id} ({plan.videos[clip.video].path})"
                f" are not finite with {plan.options.backbone}, {plan.weights}, "
                f"--precision {plan.options.precision} and --normalise "
                f"{plan.options.normalise}; change one of these, or remove the clip."
            )
        raise InputError(
            f"{count}, but --max-failures allows {most}: {plan.videos[clip.video].path}: "
            f"{reason}, which clip {clip.clip_id} needs; replace the video, remove its clips, or "
            "raise --max-failures."
        )


def check_weights(plan: BuildPlan, cache: Cache) -> None:
    """Raise if the weights changed between hashing and loading.

    Raises
    ------
    InputError
    """
    path = plan.weights.path
    hashes = {} if path is None else cache.known_hashes([path])
    if path is not None and f"sha256:{hashes.get(path)}" != plan.weights.identity:
        raise InputError(f"{path} changed while it was read; run the same command again.")


def check_space(plan: BuildPlan, layout: Layout, units: int) -> None:
    """Raise if the disk cannot hold the missing units.

    Raises
    ------
    InputError
    """
    root, options = plan.options.store, plan.options
    if options.bucket:
        return
    whole = store_bytes(layout.steps, layout.dim, options.codec.item_size)
    packed = (
        whole if options.format == "hdf5" else 0
    )  # packed from finished files, which stay until the end
    needed = whole * units // len(layout.units()) + packed
    check_room(root, needed)
