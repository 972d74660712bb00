"""Score predicted segments against the annotations of their recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featstore.format.files import replacing
from pipeline.metrics.segments import (
    DETECTION_OVERLAPS,
    OVERLAPS,
    Interval,
    accuracy,
    average_precision,
    edit_score,
    f1,
    mean_average_precision,
)
from pipeline.predict.segments import Segment
from pipeline.runs.files import write_json


class Scorer:
    """Collects the segments of recordings with annotations, and scores them together.

    Parameters
    ----------
    classes : sequence of str
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._recordings: list[tuple[list[Interval], list[Interval]]] = []

    def add(self, segments: Sequence[Segment], annotated: Sequence[Segment]) -> None:
        """Take the predicted and the annotated segments of one recording."""
        predicted, true = ([Interval(*one) for one in side] for side in (segments, annotated))
        self._recordings.append((predicted, true))

    def scores(self) -> dict[str, Any] | None:
        """Return all scores as fractions; None without annotations."""
        recordings = self._recordings
        if not recordings:
            return None
        true = [one for _, segments in recordings for one in segments]
        precision = {
            str(overlap): mean_average_precision(recordings, overlap)
            for overlap in DETECTION_OVERLAPS
        }
        present = sorted({one.label for one in true})
        return {
            "recordings": len(recordings),
            "annotated_segments": len(true),
            "annotated_seconds": sum(one.end - one.begin for one in true),
            "predicted_segments": sum(len(predicted) for predicted, _ in recordings),
            "accuracy_over_time": accuracy(recordings),
            "edit": edit_score(recordings),
            "f1": {str(overlap): f1(recordings, overlap) for overlap in OVERLAPS},
            "map": precision,
            "average_precision_at_0.5": {
                self._classes[label]: average_precision(recordings, label, 0.5) for label in present
            },
        }

    def write(self, path: Path) -> dict[str, Any] | None:
        """Write the scores to a JSON file, or remove it without annotations; return them."""
        scores = self.scores()
        if scores is None:
            path.unlink(missing_ok=True)
            return None
        with replacing(path) as temporary:
            write_json(temporary, scores)
        return scores


def score_lines(scores: dict[str, Any]) -> list[str]:
    """Return scores for people."""
    f1s = ", ".join(f"{100 * float(k):g} %: {100 * value:.1f}" for k, value in scores["f1"].items())
    maps = ", ".join(
        f"{100 * float(k):g} %: {100 * value:.1f}" for k, value in scores["map"].items()
    )
    return [
        f"scored on {scores['annotated_segments']} annotated segments "
        f"({scores['annotated_seconds']:.0f} s) of {scores['recordings']} recordings",
        f"accuracy over annotated time  {100 * scores['accuracy_over_time']:.1f} %",
        f"edit score                    {100 * scores['edit']:.1f} %",
        f"F1 at overlaps of             {f1s}",
        f"mAP at overlaps of            {maps}",
    ]
