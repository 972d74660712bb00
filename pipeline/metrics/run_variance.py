"""The chance in training: what runs of one split differ by, and how a bootstrap draws it.

Runs and clips are crossed, for every run of a split classifies all of its clips. So a resample
draws both, independently, and a drawn clip counts in a drawn run as often as the product of how
often either was drawn (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics, 2007; Sellam
et al., "The MultiBERTs", 2022, with training seeds and test examples). What a run and a clip have
by chance together is counted in both, so intervals are rather too wide than too narrow. Draws of n
runs spread too little by sqrt((n - 1) / n), which is made up for.
"""

from __future__ import annotations

import numpy as np

from pipeline.types import Bools, Floats, Ints


def runs_by_split(seen: Bools) -> list[Ints]:
    """Return which runs classified the same clips, as those of one split do.

    Parameters
    ----------
    seen : bool array (clips, runs)

    Examples
    --------
    >>> seen = np.array([[True, False, True], [False, True, False]])
    >>> [runs.tolist() for runs in runs_by_split(seen)]
    [[0, 2], [1]]
    """
    splits: dict[bytes, list[int]] = {}
    for run, clips in enumerate(seen.T):
        splits.setdefault(clips.tobytes(), []).append(run)
    return [np.array(runs) for runs in splits.values()]


def more_of_runs(seen: Bools, resamples: int, rng: np.random.Generator) -> Floats:
    """Draw runs again and again, within their split and with replacement.

    Parameters
    ----------
    seen : bool array (clips, runs)
    resamples : int
    rng : numpy.random.Generator

    Returns
    -------
    float64 array (resamples, runs)
        How much more than once a run counts in each resample, on average 0; for a single run of a
        split always 0.
    """
    more = np.zeros((resamples, seen.shape[1]))
    for runs in runs_by_split(seen):
        if (n := len(runs)) > 1:
            drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
            more[:, runs] = (drawn - 1) * np.sqrt(n / (n - 1))
    return more


def variance_of_runs(seen: Bools, shares: Floats) -> float:
    """Return the variance that the chance in training gives to a mean over clips and runs.

    Parameters
    ----------
    seen : bool array (clips, runs)
        Which tells the splits of the runs.
    shares : float64 array (some of the clips, runs)
        What each run adds to what a clip counts by.
    """
    means = shares.mean(axis=0)
    several = [own for own in runs_by_split(seen) if len(own) > 1]
    return float(sum(len(own) * means[own].var(ddof=1) for own in several))
