"""The Optuna study of a sweep: its trials, and the sampling of the next one.

Only this module uses Optuna, and only the user's process writes the study. Workers get a trial's
values and return its scores, so no other process or machine opens the SQLite file.
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
from pipeline.train.trial import Outcome, best_of, halving

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

NAME = "sweep"
# The attribute of a trial that ended normally; interrupted trials lack it.
OUTCOME = "outcome"
# The attribute with the number of interruptions of a trial's values, and its limit.
CUT_OFF, MOST_CUT_OFF = "cut_off", 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Outcome):
    """A trial that ended normally.

    Attributes
    ----------
    values : dict
        Values of the searched fields.
    """

    values: dict[str, Any]


class Study:
    """The trials of one space; created by `open_study`."""

    def __init__(self, study: optuna.Study, space: Space, *, seed: int) -> None:
        self._study, self._seed = study, seed
        self._monitor = space.base.train.monitor
        self._distributions = {
            name: _distribution(options) for name, options in space.fields.items()
        }
        self._asked: dict[int, optuna.Trial] = {}
        self.begun = len(self.rows())

    def repeat_cut_off(self) -> int:
        """Queue the interrupted trials of a killed process to run next; return their number.

        A trial that is interrupted repeatedly may be what kills the process, so it fails in the
        end. No other process may use this study.
        """
        from optuna.trial import TrialState, create_trial

        queued = 0
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            if (
                trial.user_attrs.get(OUTCOME, {}).get("state") == "fail"
            ):  # the process died before it told Optuna
                continue
            drawn = (
                trial.params.keys() == self._distributions.keys()
            )  # otherwise it is sampled again
            times = trial.user_attrs.get(CUT_OFF, 0) + 1
            if not drawn or times < MOST_CUT_OFF:
                queued += 1
                if drawn:
                    self._study.enqueue_trial(trial.params, user_attrs={CUT_OFF: times})
                continue
            why = f"its process was killed {times} times, possibly out of memory"
            failed_trial = create_trial(
                state=TrialState.FAIL,
                params=trial.params,
                distributions=self._distributions,
                user_attrs={OUTCOME: {"state": "fail", "seconds": 0.0, "why": why}},
            )
            self._study.add_trial(failed_trial)
        self.begun = len(self.rows())
        return queued

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Start a trial; return its number and the values of its fields."""
        from optuna.samplers import TPESampler

        # One seed per trial: a single seed would repeat its draws after a restart.
        (seed,) = np.random.SeedSequence([self._seed, self.begun]).generate_state(1)
        self._study.sampler = TPESampler(seed=int(seed))
        trial = self._study.ask(self._distributions)
        self._asked[trial.number] = trial
        self.begun += 1
        return trial.number, {name: trial.params[name] for name in self._distributions}

    def tell(self, outcome: Outcome) -> Row:
        """Record how a trial ended, and return it."""
        from optuna.trial import TrialState

        trial, scores = self._asked.pop(outcome.number), outcome.scores
        for epoch, score in enumerate(scores, start=1):
            trial.report(score, epoch)
        record = {"state": outcome.state, "seconds": outcome.seconds, "why": outcome.why}
        trial.set_user_attr(OUTCOME, record)
        complete = outcome.state == "complete"
        value = scores[best_of(scores, self._monitor)] if complete else None
        self._study.tell(trial, value, TrialState[outcome.state.upper()])
        return Row(values=dict(trial.params), **asdict(outcome))

    def rows(self) -> list[Row]:
        """Return the trials that ended normally."""
        return [
            Row(
                number=trial.number,
                values={name: trial.params[name] for name in self._distributions},
                scores=[trial.intermediate_values[i] for i in sorted(trial.intermediate_values)],
                **trial.user_attrs[OUTCOME],
            )
            for trial in self._study.get_trials(deepcopy=False)
            # A trial that was interrupted while its outcome was written counts as failed.
            if trial.user_attrs.get(OUTCOME, {}).get("state") == trial.state.name.lower()
        ]

    def bars(self) -> dict[int, float]:
        """Return the bars for trials that start now; see `pipeline.train.trial.halving`."""
        return halving([row.scores for row in self.rows() if row.state != "fail"], self._monitor)

    def importance(self) -> dict[str, float]:
        """Return the share of the score's variance that each field explains by itself.

        The score is each trial's best one, including pruned trials, since few are complete. Hutter
        et al., "An efficient approach for assessing hyperparameter importance", ICML 2014. The
        result is empty if fewer than two trials have a score, or all scores are equal.
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
    """Return the score of a trial's best epoch."""
    return row.scores[best_of(row.scores, monitor)]


def ranked(rows: Sequence[Row], monitor: str) -> list[Row]:
    """Return the complete trials, best first; ties go to the earlier trial."""
    sign = 1 if monitor == "loss" else -1
    complete = [row for row in rows if row.state == "complete"]
    return sorted(complete, key=lambda row: (sign * best_score(row, monitor), row.number))


@contextmanager
def open_study(path: Path, space: Space, *, seed: int) -> Iterator[Study]:
    """Open a study, or create it.

    Parameters
    ----------
    path : Path
        An SQLite file.
    space : Space
    seed : int
        Seed of the sampler.

    Raises
    ------
    InputError
        If Optuna is not installed, or the file is not an Optuna study.
    """
    try:
        import optuna
    except ImportError:
        raise InputError("a sweep needs Optuna; run pip install optuna") from None
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import SQLAlchemyError

    url = URL.create("sqlite", database=str(path))
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage: optuna.storages.RDBStorage | None = None
    try:
        try:
            storage = optuna.storages.RDBStorage(url.render_as_string())
            study = _study(storage, space, seed=seed)
        # On a damaged or foreign database, Optuna, SQLAlchemy and SQLite raise many types:
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
        optuna.logging.set_verbosity(verbosity)


def _study(storage: optuna.storages.RDBStorage, space: Space, *, seed: int) -> Study:
    """Load or create the study, and read every trial once."""
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
        f"{path}: is not an Optuna study ({type(why).__name__}: {lines[0]}); pass another --out, "
        "or remove the file to start again"
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
