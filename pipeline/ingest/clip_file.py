"""The file of one clip, or its folder with one file per step, and the times of its steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.exchange.npy_arrays import ClipArray, StepFiles, one_clip, open_npy, step_files
from pipeline.sources.files import visible_entries
from pipeline.sources.names import check_utf8

NPY = ".npy"


@dataclass(frozen=True, slots=True)
class ClipFile:
    """The file of one clip.

    Attributes
    ----------
    clip_id : str
    path : Path
        A file, or a folder with one file per step.
    times : Path or None
        The file with its times in milliseconds.
    """

    clip_id: str
    path: Path
    times: Path | None

    def array(self) -> ClipArray:
        """Inspect the file, or the files of the folder."""
        return steps_in(self.path)[0] if self.path.is_dir() else one_clip(self.path)

    def seconds(self, steps: int, fps: Fraction | None) -> NDArray[np.float64]:
        """Return the time of every step in seconds, NaN if it is unknown.

        Raises
        ------
        InputError
            If the file of times does not hold one increasing number per step.
        """
        if self.times is None:
            return even_times(np.arange(steps), fps)
        stamps = open_npy(self.times)
        if stamps.dtype.kind not in "fiu" or stamps.shape != (steps,):
            raise InputError(
                f"{self.times} has shape {stamps.shape} of {stamps.dtype}, but {self.path.name} "
                f"has {steps} steps; correct it to one number per step, or remove it."
            )
        times: NDArray[np.float64] = stamps.astype(np.float64) / 1000
        _check_times(self.times, times)
        return times


def even_times(steps: NDArray[np.int64], fps: Fraction | None) -> NDArray[np.float64]:
    """Return the times of steps in seconds at a rate; NaN without one."""
    if fps is None:
        return np.full(len(steps), np.nan)
    return steps * fps.denominator / fps.numerator


def steps_in(folder: Path) -> tuple[StepFiles, list[int]]:
    """Return the clip in a folder with one file per step, and the number of every step.

    The last number in a file's name counts: ``0.npy``, ``frame_012.npy``.

    Raises
    ------
    InputError
        If it has no such file, a name has no number, or two have the same.
    """
    files: dict[int, Path] = {}
    for path in visible_entries(folder):
        if path.suffix.casefold() != NPY:
            continue
        check_utf8(path)
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise InputError(
                f"{path} has no number in its name, but in a folder with one file per step, the "
                "number is the step's; rename the file, or move it."
            )
        first = files.setdefault(int(digits[-1]), path)
        if first is not path:
            raise InputError(
                f"{first} and {path} are both step {int(digits[-1])}; rename or remove one."
            )
    if not files:
        raise InputError(f"{folder} has no {NPY} file; a clip needs at least one step.")
    numbers = sorted(files)
    return step_files(folder, [files[number] for number in numbers]), numbers


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
