"""What enters a store as a step: ``pooled``, ``cls``, ``mean``, ``grid:N``, ``tokens``, ``stages``.

``pooled`` is what a classifier takes; ``cls`` the class token; ``mean`` the mean over all places
of a frame or window; ``grid:2`` the means of 2 x 2 parts of a frame, one vector after the other,
row by row; ``tokens`` the vectors of all places and times; ``stages:2,3`` the means over places of
the maps of several stages of a timm model, one after the other.
"""

from __future__ import annotations

POOLED, CLS, MEAN, TOKENS, GRID = "pooled", "cls", "mean", "tokens", "grid:"
STAGES = "stages:"


def is_feature_kind(text: str) -> bool:
    """Tell whether a text names a kind of features.

    Examples
    --------
    >>> [is_feature_kind(text) for text in ("cls", "grid:3", "grid:1", "grid:x")]
    [True, True, False, False]
    >>> [is_feature_kind(text) for text in ("stages:1,3", "stages:3", "stages:3,1", "stages:")]
    [True, True, False, False]
    """
    if text.startswith(STAGES):
        numbers = text.removeprefix(STAGES).split(",")
        is_number = all(number.isascii() and number.isdigit() for number in numbers)
        return is_number and list(map(str, sorted({int(n) for n in numbers}))) == numbers
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


def stage_numbers(kind: str) -> list[int]:
    """Return the numbers of stages.

    Examples
    --------
    >>> stage_numbers("stages:1,3")
    [1, 3]
    """
    return [int(number) for number in kind.removeprefix(STAGES).split(",")]
