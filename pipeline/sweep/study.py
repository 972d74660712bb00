"""The study of a sweep: which trials there are, and which one comes next.

Optuna is used here alone. Only the process that the user started writes it. Workers get a trial's
values and give back its scores, so no other process or machine opens the SQLite file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import InputError
from pipeline.sweep.space import Choices, Range, Space
from pipeline.sweep.trial import Outcome, best_of, halving

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

NAME = "sweep"
# What is noted of a trial that has ended by itself, and not of those that were cut off.
OUTCOME = "outcome"
# How often a trial's values were cut off before, and how often that may happen.
CUT_OFF, MOST_CUT_OFF = "cut_off", 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Outcome):
    """A trial that has ended by itself.

    Attributes
    ----------
    values : dict
        Of the fields that are searched.
    """

    values: dict[str, Any]


class Study:
    """Trials of one space; made by `open_study`."""

    def __init__(self, study: optuna.Study, space: Space, *, seed: int) -> None:
        self._study, self._seed = study, seed
        self._monitor = space.base.train.monitor
        self._distributions = {name: _distribution(own) for name, own in space.fields.items()}
        self._asked: dict[int, optuna.Trial] = {}
        self.begun = len(self.rows())

    def repeat_cut_off(self) -> int:
        """Queue the trials that a killed process left, to be the next ones; return how many.

        What was cut off again and again may be what kills the process, so it fails in the end.
        Nobody else may be at this study.
        """
        from optuna.trial import TrialState, create_trial

        queued = 0
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            if trial.user_attrs.get(OUTCOME, {}).get("state") == "fail":  # it was just not told
                continue
            drawn = trial.params.keys() == self._distributions.keys()  # else it is drawn anew
            times = trial.user_attrs.get(CUT_OFF, 0) + 1
            if not drawn or times < MOST_CUT_OFF:
                queued += 1
                if drawn:
                    self._study.enqueue_trial(trial.params, user_attrs={CUT_OFF: times})
                continue
            why = f"its process was killed {times} times, perhaps for want of memory"
            failed = create_trial(
                state=TrialState.FAIL,
                params=trial.params,
                distributions=self._distributions,
                user_attrs={OUTCOME: {"state": "fail", "seconds": 0.0, "why": why}},
            )
            self._study.add_trial(failed)
        self.begun = len(self.rows())
        return queued

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Begin a trial; return its number and the values of its fields."""
        from optuna.samplers import TPESampler

        # A seed for every trial: one for all would draw the same again after a restart.
        (seed,) = np.random.SeedSequence([self._seed, self.begun]).generate_state(1)
        self._study.sampler = TPESampler(seed=int(seed))
        trial = self._study.ask(self._distributions)
        self._asked[trial.number] = trial
        self.begun += 1
        return trial.number, {name: trial.params[name] for name in self._distributions}

    def tell(self, outcome: Outcome) -> Row:
        """Note how a trial ended."""
        from optuna.trial import TrialState

        trial, scores = self._asked.pop(outcome.number), outcome.scores
        for epoch, score in enumerate(scores, start=1):
            trial.report(score, epoch)
        noted = {"state": outcome.state, "seconds": outcome.seconds, "why": outcome.why}
        trial.set_user_attr(OUTCOME, noted)
        complete = outcome.state == "complete"
        value = scores[best_of(scores, self._monitor)] if complete else None
        self._study.tell(trial, value, TrialState[outcome.state.upper()])
        return Row(values=dict(trial.params), **asdict(outcome))

    def rows(self) -> list[Row]:
        """Return the trials that have ended by themselves."""
        return [
            Row(
                number=trial.number,
                values={name: trial.params[name] for name in self._distributions},
                scores=[trial.intermediate_values[i] for i in sorted(trial.intermediate_values)],
                **trial.user_attrs[OUTCOME],
            )
            for trial in self._study.get_trials(deepcopy=False)
            # One that was cut off while it was noted has failed, whatever it has noted.
            if trial.user_attrs.get(OUTCOME, {}).get("state") == trial.state.name.lower()
        ]

    def bars(self) -> dict[int, float]:
        """Return what trials that begin now must reach, see `pipeline.sweep.trial.halving`."""
        return halving([row.scores for row in self.rows() if row.state != "fail"], self._monitor)

    def importance(self) -> dict[str, float]:
        """Return how much of the score's variance each field explains by itself, as shares of 1.

        Of the best score of every trial, until it was ended: few are complete. Hutter et al., "An
        efficient approach for assessing hyperparameter importance", ICML 2014. Nothing where fewer
        than two trials have a score, or all have the same.
        """
        import optuna

        scored = [row for row in self.rows() if row.state != "fail"]
        scores = [best_score(row, self._monitor) for row in scored]
        if len(set(scores)) < 2:
            return {}
        made = optuna.create_study()
        for row, score in zip(scored, scores, strict=True):
            made.add_trial(
                optuna.trial.create_trial(
                    params=row.values, distributions=self._distributions, value=score
                )
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._seed % 2**32)
        return dict(optuna.importance.get_param_importances(made, evaluator=evaluator))


def best_score(row: Row, monitor: str) -> float:
    """Return the score of a trial: that of its best epoch."""
    return row.scores[best_of(row.scores, monitor)]


def ranked(rows: Sequence[Row], monitor: str) -> list[Row]:
    """Return the trials that are complete, the best first, of equal ones the earlier."""
    sign = 1 if monitor == "loss" else -1
    complete = [row for row in rows if row.state == "complete"]
    return sorted(complete, key=lambda row: (sign * best_score(row, monitor), row.number))


@contextmanager
def open_study(path: Path, space: Space, *, seed: int) -> Iterator[Study]:
    """Open a study, or begin it.

    Parameters
    ----------
    path : Path
        An SQLite file.
    space : Space
    seed : int
        Of the choice of trials.

    Raises
    ------
    InputError
        If Optuna is not installed, or the file is none of its studies.
    """
    try:
        import optuna
    except ImportError:
        raise InputError("a sweep needs Optuna; pip install optuna") from None
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import SQLAlchemyError

    url = URL.create("sqlite", database=str(path))
    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage: optuna.storages.RDBStorage | None = None
    try:
        try:
            storage = optuna.storages.RDBStorage(url.render_as_string())
            study = _study(storage, space, seed=seed)
        # Of a damaged or foreign database, Optuna, SQLAlchemy and SQLite raise whatever they meet:
        # RuntimeError, LookupError, UnicodeDecodeError, ...
        except Exception as error:
            raise _no_study(path, error) from None
        try:
            yield study
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise _no_study(path, error) from None
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()
        optuna.logging.set_verbosity(said)


def _study(storage: optuna.storages.RDBStorage, space: Space, *, seed: int) -> Study:
    """Load the study, or begin it, and read every trial once."""
    import optuna

    study = optuna.create_study(
        storage=storage,
        study_name=NAME,
        direction="minimize" if space.base.train.monitor == "loss" else "maximize",
        load_if_exists=True,
    )
    return Study(study, space, seed=seed)


def _no_study(path: Path, error: Exception) -> InputError:
    why = getattr(error, "orig", None) or error
    lines = str(why).splitlines() or [""]
    return InputError(
        f"{path}: is no study of Optuna's ({type(why).__name__}: {lines[0]}); name another --out, "
        "or remove it to begin anew"
    )


def _distribution(options: Range | Choices) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(options, Choices):
        return CategoricalDistribution(options.choices)
    low, high, step = options.low, options.high, options.step
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=options.log, step=int(step or 1))
    return FloatDistribution(low, high, log=options.log, step=step)
