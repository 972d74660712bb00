"""Report lines for confidence intervals and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.metrics.bootstrap import FEW_SUBJECTS
from pipeline.metrics.calibration import COOLEST, HOTTEST
from pipeline.metrics.classification import MAIN_SCORES, score_name
from pipeline.report.markdown import percent, percents, table


def interval_lines(
    scores: Mapping[str, Mapping[str, Any]],
    intervals: Mapping[str, Mapping[str, Any] | None],
    *,
    people: str = "subjects",
) -> list[str]:
    """Return a table of the confidence intervals by part.

    Parameters
    ----------
    scores : mapping
        The scores by part, as fractions.
    intervals : mapping
        By part, the result of `pipeline.metrics.bootstrap.intervals`.
    people : str
        The word for subjects: ``videos`` where videos stand in for them.
    """
    by_part = {part: bounds for part, bounds in intervals.items() if bounds}
    if not by_part:
        return []
    any_part = next(iter(by_part.values()))
    rows = [
        [
            *(part, score_name(score), percent(scores[part][score])),
            *(percents(bounds[score][over]) for over in ("clips", "subjects")),
        ]
        for part, bounds in by_part.items()
        for score in MAIN_SCORES
    ]
    lines = [
        f"{100 * any_part['level']:.0f} % intervals, in percent, by {any_part['resamples']} "
        f"bootstrap resamples of the clips and of the {people}, the latter widened for small "
        "samples:",
        "",
        *table(["", "score", "value", "over clips", f"over {people}"], rows),
    ]
    few = [f"{bounds['subjects']} of {part}" for part, bounds in by_part.items() if _few(bounds)]
    if few:
        lines += [
            "",
            f"With fewer than {FEW_SUBJECTS} {people} ({', '.join(few)}), the interval over "
            f"{people} is probably too narrow.",
        ]
    return lines


def certainty_lines(
    intervals: Mapping[str, Any],
    errors: Mapping[str, float],
    temperature: float | None,
    people: str,
) -> list[str]:
    """Return one line each on the intervals and the calibration of one part.

    Parameters
    ----------
    intervals : mapping
        The result of `pipeline.metrics.bootstrap.intervals`.
    errors : mapping
        The result of `pipeline.metrics.calibration.errors_at`.
    temperature : float, optional
        The temperature of the scaled errors; without it only the unscaled errors are reported.
    people : str
        See `interval_lines`.
    """
    lines = []
    for over, units in (("clips", "clips"), ("subjects", f"{intervals['subjects']} {people}")):
        if intervals[MAIN_SCORES[0]][over] is not None:
            bounds = (f"{score_name(s)} {percents(intervals[s][over])}" for s in MAIN_SCORES)
            which = f"{100 * intervals['level']:.0f} % over {units}"
            lines.append(f"{which:20} {', '.join(bounds)}")
            if over == "subjects" and _few(intervals):
                lines[-1] += f" (fewer than {FEW_SUBJECTS}: probably too narrow)"
    lines.append(f"{'calibration error':20} {percent(errors['ece'])}")
    if temperature is not None:
        lines[-1] += (
            f"; at temperature {temperature:.2f}, fitted on the run's val, "
            f"{percent(errors['ece_scaled'])} and loss {errors['nll_scaled']:.3f}"
        )
    return lines


def _few(intervals: Mapping[str, Any]) -> bool:
    return bool(intervals["subjects"] < FEW_SUBJECTS)


def calibration_lines(calibration: Mapping[str, Any]) -> list[str]:
    """Return a table of the calibration errors before and after temperature scaling.

    Parameters
    ----------
    calibration : mapping
        The result of `pipeline.metrics.calibration.calibration`.
    """
    temperature = calibration["temperature"]
    verdict = "overconfident" if temperature > 1 else "underconfident"
    bounded = not 1.001 * COOLEST < temperature < 0.999 * HOTTEST
    bound = " (a bound of the search: there is no optimum)" if bounded else ""
    rows = [
        [
            *(part, percent(errors["ece"]), percent(errors["ece_scaled"])),
            *(f"{errors['nll']:.3f}", f"{errors['nll_scaled']:.3f}"),
        ]
        for part in ("val", "test")
        if (errors := calibration[part])["ece"] is not None
    ]
    return [
        f"Temperature {temperature:.2f}{bound}, fitted on val: as trained, the head is {verdict}. "
        "Dividing its logits by the temperature changes no prediction. Expected calibration error "
        f"in {calibration['bins']} bins of equal width, and mean negative log-likelihood:",
        "",
        *table(["", "error", "error, scaled", "NLL", "NLL, scaled"], rows),
    ]
