"""Read and check the content of one imported clip: shape, values, frames, times, hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_arrays import ClipArray
from featstore.format import schema
from featstore.keys import canonical_json
from pipeline.ingest.plan import ImportedClip, ListedClip
from pipeline.sources.base import Annotation


def check_dims(arrays: Sequence[ClipArray]) -> None:
    """Refuse clips with different dims.

    Raises
    ------
    InputError
    """
    dims = Counter(array.dim for array in arrays)
    common, _ = dims.most_common(1)[0]
    other = next((array for array in arrays if array.dim != common), None)
    if other is not None:
        raise InputError(
            f"{other.path} has {other.dim} values per step, but {dims[common]} of {len(arrays)} "
            f"clips have {common}; every clip must be (steps, dim) with the same dim. Remove or "
            "transpose the others."
        )


def read_clip(annotation: Annotation, listed: ListedClip) -> ImportedClip:
    """Return a clip, read once in blocks; refuse invalid values.

    Raises
    ------
    InputError
        If a value is too large for float32, or not finite in a clip that is not marked as failed.
    """
    array, failed = listed.array, listed.status != schema.STATUS_OK
    whole = annotation.start is None or annotation.stop is None
    start, stop = (0, array.steps) if whole else (annotation.start, annotation.stop)
    head = canonical_json({"shape": [array.steps, array.dim], "status": listed.status})
    digest = hashlib.sha256(head.encode())
    rounded, first = 0.0, 0
    for block in array.blocks():
        stored = _float32(listed, first, block, failed=failed)
        digest.update(stored.data)
        rounded, first = max(rounded, _rounded(block, stored)), first + len(block)
    digest.update(listed.frame.astype("<i8").tobytes())
    digest.update(listed.time.astype("<f8").tobytes())
    return ImportedClip(
        annotation,
        array,
        int(start or 0),
        int(stop or 0),
        listed.frame,
        listed.time,
        listed.status,
        digest.hexdigest(),
        rounded,
    )


def rounding(clips: Sequence[ImportedClip]) -> list[str]:
    """Return a note on the rounding of float64, if any."""
    rounded = [clip.rounded for clip in clips if clip.rounded > 0]
    if not rounded:
        return []
    return [
        f"float64 of {len(rounded)} clips is rounded to float32: by at most {max(rounded):.1g} of "
        "a clip's largest value"
    ]


def _float32(
    listed: ListedClip, first: int, block: NDArray[Any], *, failed: bool
) -> NDArray[np.float32]:
    """Return a block as float32, and refuse invalid values."""
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(block, "<f4")
    if failed or np.isfinite(stored).all():
        return stored
    step, feature = (int(index) for index in np.argwhere(~np.isfinite(stored))[0])
    value, where = block[step, feature], listed.draft.where
    origin, number = listed.array.origin(first + step)
    origin = origin if origin.startswith(where) else f"{where}: {origin}"
    what = f"{origin} holds {value:g} at step {number}, feature {feature}"
    if np.isfinite(value):
        raise InputError(f"{what}, but float32 holds at most 3.4e38; scale the features.")
    raise InputError(f"{what}; extract the clip again, or remove it.")


def _rounded(block: NDArray[Any], stored: NDArray[np.float32]) -> float:
    """Return the largest rounding error of a block, relative to its largest value."""
    if block.dtype != np.float64:
        return 0.0
    error = np.abs(block - stored).max()
    return float(error / np.abs(block).max()) if error > 0 else 0.0
