"""Training variance: how runs of one split differ, and how a bootstrap draws it.

Runs and clips are crossed: every run of a split classifies all of its clips. A resample therefore
draws runs and clips independently. A drawn clip counts in a drawn run by the product of both draw
counts (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics, 2007; Sellam et al., "The
MultiBERTs", 2022, with training seeds and test examples). The interaction of runs and clips counts
in both, so intervals are too wide rather than too narrow. Draws of n runs spread too little by
sqrt((n - 1) / n); the draws are scaled to correct this.
"""

from __future__ import annotations

import numpy as np

from pipeline.types import Bools, Floats, Ints


def runs_by_split(seen: Bools) -> list[Ints]:
    """Return groups of runs that classified the same clips, as the runs of one split do.

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
    """Return draws of runs, within their split and with replacement.

    Parameters
    ----------
    seen : bool array (clips, runs)
    resamples : int
    rng : numpy.random.Generator

    Returns
    -------
    float64 array (resamples, runs)
        Number of draws of each run beyond one, scaled; the mean is 0. A split's single run has 0.
    """
    more = np.zeros((resamples, seen.shape[1]))
    for runs in runs_by_split(seen):
        if (n := len(runs)) > 1:
            drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
            more[:, runs] = (drawn - 1) * np.sqrt(n / (n - 1))
    return more


def variance_of_runs(seen: Bools, shares: Floats) -> float:
    """Return the variance of a mean over clips and runs that comes from training.

    Parameters
    ----------
    seen : bool array (clips, runs)
        Whether a run classified a clip; this gives the splits of the runs.
    shares : float64 array (some of the clips, runs)
        The contribution of each run to the value of a clip.
    """
    means = shares.mean(axis=0)
    several = [runs for runs in runs_by_split(seen) if len(runs) > 1]
    return float(sum(len(runs) * means[runs].var(ddof=1) for runs in several))
