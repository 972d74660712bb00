"""Many trainings of a recipe with other values of its fields, of which val chooses the best.

::

    OUT/sweep.json    what is searched, on which store
    OUT/study.db      every trial, in Optuna's own tables
    OUT/trials.csv    the same as a table
    OUT/best.yaml     the winner, a recipe
    OUT/figures/      history, importance
    OUT/report.md
    OUT/final/        the run of the winner, the only one that looks at test
"""

from pipeline.sweep.search import Winner, final, sweep
from pipeline.sweep.space import Space, load_space, space_of

__all__ = ["Space", "Winner", "final", "load_space", "space_of", "sweep"]
