"""What ``featstore predict`` can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from featstore.errors import InputError
from pipeline.option_values import one_of
from pipeline.predict.choose import BEST, candidates
from pipeline.predict.segments import SMOOTHINGS, Smoother, Smoothing


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """Everything that ``featstore predict`` can be told.

    Attributes
    ----------
    out : Path
        Folder of the results.
    window, hop : float or None
        Seconds. By default the median length of the training clips, and half of it.
    intervals : bool
        Predict the intervals of a table instead of sliding windows.
    unit : {"frames", "seconds"} or None
        Of a table's intervals.
    smooth : {"none", "median", "viterbi", "best"}
        ``best`` chooses on the annotated recordings; see `pipeline.predict.choose`.
    smooth_seconds : float or None
        Width of the median, or least duration of a segment; by default a window.
    threshold : float
        A less probable class is not shown as a segment.
    format : {"csv", "jsonl", "parquet"}
    pictures, overlay : bool
        Draw a timeline, and a video with labels, for each recording.
    weights : sequence of str or None
        The weights file of each backbone, where they have moved.
    device : str
    workers : int or None
        Pieces of videos decoded at once.
    """

    out: Path
    window: float | None = None
    hop: float | None = None
    intervals: bool = False
    unit: str | None = None
    smooth: Smoothing | Literal["best"] = "median"
    smooth_seconds: float | None = None
    threshold: float = 0.0
    format: str = "csv"
    pictures: bool = True
    overlay: bool = False
    weights: Sequence[str] | None = None
    device: str = "auto"
    workers: int | None = None

    def smoothers(self, window: float) -> list[Smoother]:
        """Return the one smoother that is asked for, or all that are tried.

        Parameters
        ----------
        window : float
            Seconds.

        Raises
        ------
        InputError
        """
        one_of("smooth", self.smooth, (*SMOOTHINGS, BEST))
        if self.smooth == BEST:
            if self.smooth_seconds is not None or self.intervals:
                raise InputError(
                    "--smooth is best, which chooses --smooth-seconds and needs sliding windows; "
                    "leave out --smooth-seconds and --intervals."
                )
            return candidates(window, self.threshold)
        seconds = window if self.smooth_seconds is None else self.smooth_seconds
        return [Smoother(self.smooth, seconds, self.threshold)]
