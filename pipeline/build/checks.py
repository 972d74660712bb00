"""What must hold before a build goes on: weights, room on the disk, few enough failures."""

from __future__ import annotations

from collections.abc import Mapping

from featstore.errors import InputError
from featstore.format.layout import Layout
from featstore.writing.destinations import check_room, store_bytes
from pipeline.build.plan.build_plan import Prepared
from pipeline.build.plan.clips import NOT_FINITE
from pipeline.video.cache import Cache


def check_failures(prepared: Prepared, failed: Mapping[int, str]) -> None:
    """Stop where more clips have failed than may.

    Raises
    ------
    InputError
    """
    most = prepared.options.most_failures(len(prepared.clips))
    failed = {**prepared.lost, **failed}
    if len(failed) > most:
        number, reason = next(iter(failed.items()))
        clip = prepared.clips[number]
        count = f"{len(failed)} of {len(prepared.clips)} clips failed"
        if reason == NOT_FINITE:
            raise InputError(
                f"{count}: the features of clip {clip.clip_id} ({prepared.videos[clip.video].path})"
                f" are not finite with {prepared.options.backbone}, {prepared.weights}, "
                f"--precision {prepared.options.precision} and --normalise "
                f"{prepared.options.normalise}; change one of these, or remove the clip."
            )
        raise InputError(
            f"{count}, and --max-failures allows {most}: {prepared.videos[clip.video].path}: "
            f"{reason}, which clip {clip.clip_id} needs; replace the video, remove its clips, or "
            "allow more with --max-failures."
        )


def check_weights(prepared: Prepared, cache: Cache) -> None:
    """Refuse weights that changed between being hashed and being loaded.

    Raises
    ------
    InputError
    """
    path = prepared.weights.path
    known = {} if path is None else cache.known_hashes([path])
    if path is not None and f"sha256:{known.get(path)}" != prepared.weights.identity:
        raise InputError(f"{path} was changed while it was read; run the same command again.")


def check_space(prepared: Prepared, layout: Layout, units: int) -> None:
    """Refuse to begin where the disk cannot hold the units that are missing.

    Raises
    ------
    InputError
    """
    root, options = prepared.options.store, prepared.options
    if options.bucket:
        return
    whole = store_bytes(layout.steps, layout.dim, options.codec.item_size)
    packed = whole if options.format == "hdf5" else 0  # from finished files, which stay till then
    needed = whole * units // len(layout.units()) + packed
    check_room(root, needed)
