"""How sure scores and probabilities are, as reports say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.metrics.bootstrap import FEW_SUBJECTS
from pipeline.metrics.bootstrap import SCORES as INTERVAL_SCORES
from pipeline.metrics.calibration import COOLEST, HOTTEST
from pipeline.report.markdown import SCORE_NAMES, percent, percents, table


def interval_lines(
    scores: Mapping[str, Mapping[str, Any]],
    intervals: Mapping[str, Mapping[str, Any] | None],
    *,
    people: str = "subjects",
) -> list[str]:
    """Tabulate confidence intervals by part.

    Parameters
    ----------
    scores : mapping
        By part, the scores as fractions.
    intervals : mapping
        By part, as `pipeline.metrics.bootstrap.intervals` gives them.
    people : str
        What subjects are called: ``videos`` where they stand in for them.
    """
    known = {part: own for part, own in intervals.items() if own}
    if not known:
        return []
    any_part = next(iter(known.values()))
    rows = [
        [
            *(part, SCORE_NAMES[score], percent(scores[part][score])),
            *(percents(own[score][over]) for over in ("clips", "subjects")),
        ]
        for part, own in known.items()
        for score in INTERVAL_SCORES
    ]
    lines = [
        f"{100 * any_part['level']:.0f} % intervals, in percent, by {any_part['resamples']} "
        f"bootstrap resamples of the clips and of the {people}, the latter widened for being few:",
        "",
        *table(["", "score", "value", "over clips", f"over {people}"], rows),
    ]
    few = [f"{own['subjects']} of {part}" for part, own in known.items() if _few(own)]
    if few:
        lines += [
            "",
            f"With so few {people} ({', '.join(few)}) the interval over {people} cannot be "
            f"trusted: it is likely too narrow. It wants {FEW_SUBJECTS} at the least.",
        ]
    return lines


def certainty_lines(
    intervals: Mapping[str, Any],
    errors: Mapping[str, float],
    temperature: float | None,
    people: str,
) -> list[str]:
    """Say how sure the scores and probabilities of one part are, in a line each.

    Parameters
    ----------
    intervals : mapping
        As `pipeline.metrics.bootstrap.intervals` gives them.
    errors : mapping
        As `pipeline.metrics.calibration.errors_at` gives them.
    temperature : float, optional
        That the errors are scaled by; without it they are said as they are.
    people : str
        As for `interval_lines`.
    """
    lines = []
    for over, named in (("clips", "clips"), ("subjects", f"{intervals['subjects']} {people}")):
        if intervals[INTERVAL_SCORES[0]][over] is not None:
            bounds = (f"{SCORE_NAMES[s]} {percents(intervals[s][over])}" for s in INTERVAL_SCORES)
            which = f"{100 * intervals['level']:.0f} % over {named}"
            lines.append(f"{which:20} {', '.join(bounds)}")
            if over == "subjects" and _few(intervals):
                lines[-1] += f" (fewer than {FEW_SUBJECTS}: not to be trusted)"
    lines.append(f"{'calibration error':20} {percent(errors['ece'])}")
    if temperature is not None:
        lines[-1] += (
            f"; at temperature {temperature:.2f}, fitted on the run's val, "
            f"{percent(errors['ece_scaled'])} and loss {errors['nll_scaled']:.3f}"
        )
    return lines


def _few(own: Mapping[str, Any]) -> bool:
    return bool(own["subjects"] < FEW_SUBJECTS)


def calibration_lines(calibration: Mapping[str, Any]) -> list[str]:
    """Tabulate the calibration error of val and test before and after temperature scaling.

    Parameters
    ----------
    calibration : mapping
        As `pipeline.metrics.calibration.calibration` gives it.
    """
    temperature = calibration["temperature"]
    verdict = "too sure" if temperature > 1 else "not sure enough"
    bounded = not 1.001 * COOLEST < temperature < 0.999 * HOTTEST
    bound = " (a bound of the search, for nothing fits best)" if bounded else ""
    rows = [
        [
            *(part, percent(own["ece"]), percent(own["ece_scaled"])),
            *(f"{own['nll']:.3f}", f"{own['nll_scaled']:.3f}"),
        ]
        for part in ("val", "test")
        if (own := calibration[part])["ece"] is not None
    ]
    return [
        f"Temperature {temperature:.2f}{bound}, fitted on val: as trained, the head is {verdict}. "
        "Dividing its logits by the temperature changes no prediction. Expected calibration error "
        f"in {calibration['bins']} bins of equal width, and mean negative log-likelihood:",
        "",
        *table(["", "error", "error, scaled", "NLL", "NLL, scaled"], rows),
    ]
