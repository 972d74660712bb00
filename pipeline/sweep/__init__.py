"""Hyperparameter search: train a recipe with many values of its fields, and let val choose.

::

    OUT/sweep.json    the search space and the store
    OUT/study.db      every trial, in Optuna's tables
    OUT/trials.csv    the same as a table
    OUT/best.yaml     the winner, a recipe
    OUT/figures/      history, importance
    OUT/report.md
    OUT/final/        the winner's run, the only one that uses test
"""

from pipeline.sweep.search import Winner, final, sweep
from pipeline.sweep.space import Space, load_space, space_of

__all__ = ["Space", "Winner", "final", "load_space", "space_of", "sweep"]
