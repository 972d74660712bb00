"""p values of differences, and their correction for multiple tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

SIGNIFICANT = 0.05


def sign_test(better: int, worse: int) -> float:
    """Return the exact two-sided p value of the sign test.

    On the clips that only one of two runs got right, this is McNemar's exact test.

    Examples
    --------
    >>> round(sign_test(8, 1), 6)
    0.039062
    """
    from scipy.special import bdtr  # imports in a tenth of a second

    return min(1.0, 2 * float(bdtr(min(better, worse), better + worse, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple tests (Holm, 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def normal_test(difference: float, variance: float) -> float:
    """Return the two-sided p value of a difference that is normal around 0 under chance.

    Examples
    --------
    >>> round(normal_test(0.196, 0.01), 3), normal_test(0, 0)
    (0.05, 1.0)
    """
    if variance == 0:
        return float(difference == 0)
    return math.erfc(abs(difference) / math.sqrt(2 * variance))
