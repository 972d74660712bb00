"""What enters a store as a step: ``pooled``, ``cls``, ``mean``, ``grid:SIDE`` or ``tokens``.

``pooled`` is what a classifier takes; ``cls`` the class token; ``mean`` the mean over all places
of a frame or window; ``grid:2`` the means of 2 x 2 parts of a frame, one vector after the other,
row by row; ``tokens`` the vectors of all places and times.
"""

from __future__ import annotations

POOLED, CLS, MEAN, TOKENS, GRID = "pooled", "cls", "mean", "tokens", "grid:"


def is_feature_kind(text: str) -> bool:
    """Tell whether a text names a kind of features.

    Examples
    --------
    >>> [is_feature_kind(text) for text in ("cls", "grid:3", "grid:1", "grid:x")]
    [True, True, False, False]
    """
    side = text.removeprefix(GRID)
    is_grid = side != text and side.isascii() and side.isdigit() and int(side) >= 2
    return is_grid or text in (POOLED, CLS, MEAN, TOKENS)


def grid_side(kind: str) -> int:
    """Return the side of a grid.

    Examples
    --------
    >>> grid_side("grid:3")
    3
    """
    return int(kind.removeprefix(GRID))
