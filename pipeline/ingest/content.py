"""Read and check the content of one imported clip: shape, values, frames, times, hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_arrays import ClipArray, open_npy
from featstore.exchange.npy_folder import Exported
from featstore.format import schema
from featstore.keys import canonical_json
from pipeline.ingest.files import ClipFile
from pipeline.ingest.plan import ImportedClip
from pipeline.sources.base import Annotation
from pipeline.sources.rows import Row


def shortened(row: Row, array: ClipArray) -> ClipArray:
    """Return a clip of an array of all clips without its padding steps."""
    if "steps" not in row.cells:
        return array
    steps = row.whole_number_in("steps")
    if not 1 <= steps <= array.steps:
        raise InputError(
            f"{row.where}: steps is {steps}, but the clips of {array.path} have 1 to {array.steps};"
            " correct it."
        )
    return replace(array, steps=steps)


def check_shapes(rows: Sequence[Row], arrays: Sequence[ClipArray]) -> None:
    """Refuse clips with different dims, or with other lengths than in the table.

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
    for row, array in zip(rows, arrays, strict=True):
        if "steps" in row.cells and row.whole_number_in("steps") != array.steps:
            raise InputError(
                f"{row.where}: steps is {row.cells['steps']}, but {array.path} has {array.steps}; "
                "correct the table or the file."
            )


def read_clip(
    annotation: Annotation,
    row: Row,
    file: ClipFile,
    array: ClipArray,
    exported: Exported | None,
    fps: Fraction | None,
) -> ImportedClip:
    """Return a clip, read once in blocks; refuse invalid values.

    Raises
    ------
    InputError
        If a value is too large for float32, or not finite in a clip that is not marked as failed,
        or there is not one time per step.
    """
    status = _status(row)
    whole = annotation.start is None or annotation.stop is None
    start, stop = (0, array.steps) if whole else (annotation.start, annotation.stop)
    start, stop = int(start or 0), int(stop or 0)
    frame, time = _frames_and_times(row, file, array, (start, stop), exported, fps)
    head = canonical_json({"shape": [array.steps, array.dim], "status": status})
    digest = hashlib.sha256(head.encode())
    rounded, first = 0.0, 0
    for block in array.blocks():
        stored = _float32(row, array, first, block, failed=status != schema.STATUS_OK)
        digest.update(stored.data)
        rounded, first = max(rounded, _rounded(block, stored)), first + len(block)
    digest.update(frame.astype("<i8").tobytes())
    digest.update(time.astype("<f8").tobytes())
    return ImportedClip(
        annotation, array, start, stop, frame, time, status, digest.hexdigest(), rounded
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


def _status(row: Row) -> int:
    status = row.whole_number_in("status") if "status" in row.cells else schema.STATUS_OK
    if status not in (schema.STATUS_OK, schema.STATUS_FAILED):
        raise InputError(
            f"{row.where}: status is {status}; write {schema.STATUS_OK} for a complete clip or "
            f"{schema.STATUS_FAILED} for a failed one."
        )
    return status


def _frames_and_times(
    row: Row,
    file: ClipFile,
    array: ClipArray,
    interval: tuple[int, int],
    exported: Exported | None,
    fps: Fraction | None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the frame and time of every step: as exported, or as far as they are known."""
    if exported is None or "first" not in row.cells:
        start, stop = interval
        frame = start + np.arange(array.steps) * (stop - start) // array.steps
        return frame, _times(file, array.steps, fps)
    first = row.whole_number_in("first")
    frame, time = (
        column[first : first + array.steps] for column in (exported.frame, exported.time)
    )
    if first < 0 or len(frame) != array.steps or len(time) != array.steps:
        raise InputError(
            f"{row.where}: first is {first}, but frame.npy and time.npy are shorter; export "
            "again, or remove the column first."
        )
    return np.array(frame, np.int64), np.array(time, np.float64)


def _times(file: ClipFile, steps: int, fps: Fraction | None) -> NDArray[np.float64]:
    """Return the time of every step in seconds, NaN if it is unknown."""
    if file.times is not None:
        stamps = open_npy(file.times)
        if stamps.dtype.kind not in "fiu" or stamps.shape != (steps,):
            raise InputError(
                f"{file.times} has shape {stamps.shape} of {stamps.dtype}, but {file.path.name} "
                f"has {steps} steps; correct it to one number per step, or remove it."
            )
        times: NDArray[np.float64] = stamps.astype(np.float64) / 1000
        _check_times(file.times, times)
        return times
    if fps is None:
        return np.full(steps, np.nan)
    return np.arange(steps) * fps.denominator / fps.numerator


def _check_times(path: Path, times: NDArray[np.float64]) -> None:
    """Refuse times that are not finite, decrease, or are all equal."""
    wrong = ~np.isfinite(times)
    wrong[1:] |= np.diff(times) < 0
    if len(times) > 1 and times[0] == times[-1]:
        wrong[-1] = True
    if wrong.any():
        step = int(np.argmax(wrong))
        before = f" after {times[step - 1] * 1000:g}" if step else ""
        raise InputError(
            f"{path} holds {times[step] * 1000:g}{before} at step {step}; times must increase. "
            "Correct the file, or remove it."
        )


def _float32(
    row: Row, array: ClipArray, first: int, block: NDArray[Any], *, failed: bool
) -> NDArray[np.float32]:
    """Return a block as float32, and refuse invalid values."""
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(block, "<f4")
    if failed or np.isfinite(stored).all():
        return stored
    step, feature = (int(index) for index in np.argwhere(~np.isfinite(stored))[0])
    value, where = block[step, feature], _origin(array)
    if np.isfinite(value):
        raise InputError(
            f"{row.where}: {where} holds {value:g} at step {first + step}, feature {feature}, but "
            "float32 holds at most 3.4e38; scale the features."
        )
    raise InputError(
        f"{row.where}: {where} holds {value:g} at step {first + step}, feature {feature}; extract "
        "the clip again, or remove its row."
    )


def _rounded(block: NDArray[Any], stored: NDArray[np.float32]) -> float:
    """Return the largest rounding error of a block, relative to its largest value."""
    if block.dtype != np.float64:
        return 0.0
    error = np.abs(block - stored).max()
    return float(error / np.abs(block).max()) if error > 0 else 0.0


def _origin(array: ClipArray) -> Path | str:
    return array.path if array.index is None else f"clip {array.index} of {array.path}"
