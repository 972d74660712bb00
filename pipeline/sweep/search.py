"""Run a sweep, then test its winner once. Read it from top to bottom."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, cast

from featstore import InputError, Store
from featstore.json_text import read_object
from featstore.keys import differences
from featstore.text import count_of
from pipeline.metrics.classification import score_name
from pipeline.runs.files import write_json, write_yaml
from pipeline.runs.folder import LOCK, locked
from pipeline.sweep.report import shown, write_outputs
from pipeline.sweep.space import Space
from pipeline.sweep.study import Row, Study, best_score, open_study, ranked
from pipeline.sweep.workers import here, in_processes, on_dask
from pipeline.train.data.checks import checked_parts
from pipeline.train.learner import device_of
from pipeline.train.recipes.load import Recipe, load_recipe
from pipeline.train.train import train
from pipeline.train.trial import Outcome, Task
from pipeline.types import Log

CONFIG, STUDY, BEST, FINAL = "sweep.json", "study.db", "best.yaml", "final"
# The recipe of the final test, written before the test starts.
CHOSEN = "final.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """The best trial of a sweep.

    Attributes
    ----------
    recipe : Recipe
        Also in ``OUT/best.yaml``.
    trial : int
    score : float
        The recipe's monitored score on val, in the trial's best epoch.
    """

    recipe: Recipe
    trial: int
    score: float


def sweep(
    store: Store,
    space: Space,
    *,
    out: Path,
    trials: int | None = None,
    workers: int = 1,
    dask: str | None = None,
    seed: int = 0,
    device: str = "auto",
    log: Log = print,
) -> Winner:
    """Train a recipe with many values of its fields, and return the best on val.

    Optuna's tree-structured Parzen estimator chooses the values. After 4, 12, 36, ... epochs a
    trial continues only if it is in the best third. No trial uses test.

    Parameters
    ----------
    store : Store
    space : Space
    out : Path
        The folder of the sweep. An existing sweep resumes, up to `trials`; interrupted trials are
        repeated.
    trials : int, optional
        Total number of trials; by default the space's.
    workers : int
        Processes on this machine. With several, each has one thread, and reads a mapped store
        without copying it; the calling program needs ``if __name__ == "__main__":``.
    dask : str, optional
        Run trials on a cluster instead, see `pipeline.system.dask_cluster.Cluster`.
    seed : int
        Seed of every training and of the sampler.
    device : str
        ``auto`` uses a GPU if there is one; other values are torch device names.
    log : callable
        Takes one line at a time.

    Returns
    -------
    Winner

    Raises
    ------
    InputError
        If the recipe does not fit the store, `out` holds another sweep or one whose winner was
        already tested, Optuna is not installed, or no trial is complete.
    BusyError
        If another process is writing `out`.

    Notes
    -----
    With one worker, the store, space, seed and machine determine the trials, even if the sweep is
    killed and resumed. With several workers, the trials also depend on the order of completion.
    """
    checked_parts(store, space.base)
    device_of(space.base, device)
    if workers > 1 and dask is not None:
        raise InputError(f"--workers is {workers} and --dask {dask}; pass only one of them")
    if trials is not None and trials < 1:
        raise InputError(f"trials is {trials}; it must be 1 or more")
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, out):
        _check_same(out, store, space, seed)
        with open_study(out / STUDY, space, seed=seed) as study:
            count = space.trials if trials is None else trials
            _check_not_over(out, study, count)
            if interrupted := study.repeat_cut_off():
                log(f"interrupted trials to repeat: {interrupted}")
            search = _Search(store, space, study, count, seed=seed, device=device, log=log)
            if dask is not None:
                outcomes = on_dask(search.tasks(), store, dask, log)
            elif workers > 1:
                outcomes = in_processes(search.tasks(), store, workers)
            else:
                outcomes = here(search.tasks(), store)
            with closing(outcomes):  # an interrupt ends the workers immediately
                for outcome in outcomes:
                    search.note(outcome)
            return _finish(out, store, space, study, seed)


@dataclass(frozen=True, slots=True)
class _Search:
    """Hands out a limited number of trials, and records their outcomes."""

    store: Store
    space: Space
    study: Study
    count: int
    _: KW_ONLY
    seed: int
    device: str
    log: Log

    def tasks(self) -> Iterator[Task]:
        """Yield trials, each sampled on demand."""
        while self.study.begun < self.count:
            number, values = self.study.ask()
            try:
                recipe = self.space.recipe(values)
            except InputError as error:  # the values conflict with each other
                self.note(Outcome(number=number, state="fail", why=str(error)))
                continue
            yield Task(
                number=number,
                recipe=recipe.model_dump(),
                key=self.store.key,
                seed=self.seed,
                device=self.device,
                bars=self.study.bars(),
            )

    def note(self, outcome: Outcome) -> None:
        """Record a trial's outcome and log it."""
        row = self.study.tell(outcome)
        rows = self.study.rows()
        line = f"trial {row.number}: {self._describe(row)}"
        if best := ranked(rows, self._monitor):
            score = shown(best_score(best[0], self._monitor), self._monitor)
            line += f"; best {score} of trial {best[0].number}"
        self.log(f"{line} ({len(rows)} of {self.count})")

    @property
    def _monitor(self) -> str:
        return self.space.base.train.monitor

    def _describe(self, row: Row) -> str:
        if row.state == "fail":
            return f"failed: {row.why}"
        word = "" if row.state == "complete" else "pruned, "
        score = shown(best_score(row, self._monitor), self._monitor)
        epochs = count_of(len(row.scores), "epoch")
        return f"{word}val {score_name(self._monitor)} {score}, {epochs}, {row.seconds:.1f} s"


def final(store: Store, out: Path, *, device: str = "auto", log: Log = print) -> Path:
    """Train the winner of a sweep as a normal run and test it, only the first time.

    Parameters
    ----------
    store : Store
        The sweep's store.
    out : Path
        The folder of the sweep.
    device : str
    log : callable

    Returns
    -------
    Path
        The run, ``OUT/final``; `pipeline.runs.files.read_metrics` reads its scores.

    Raises
    ------
    InputError
        If `out` holds no sweep with a winner, or a sweep on another store.
    BusyError
        If another process is writing `out`.
    """
    if _config_of(out) is None or not (out / BEST).is_file():
        raise InputError(f"{out}: holds no sweep with a winner; run the sweep first")
    with locked(out, out):
        config = cast(dict[str, Any], _config_of(out))
        if config["store"] != store.key:
            raise InputError(
                f"{out}: is a sweep on the store {config['store'][:12]}, not on {store.path} "
                f"({store.key[:12]})"
            )
        if (out / FINAL).exists():
            log(f"{out}: skipped, the winner was already evaluated on test")
            return out / FINAL
        if not (out / CHOSEN).exists():  # otherwise resume the interrupted run
            temporary = out / f".{CHOSEN}"
            shutil.copyfile(out / BEST, temporary)
            temporary.replace(out / CHOSEN)
        recipe = load_recipe(out / CHOSEN)
        return train(store, recipe, out=out / FINAL, seed=config["seed"], device=device, log=log)


def _check_same(out: Path, store: Store, space: Space, seed: int) -> None:
    """Raise if the folder holds another sweep; write the configuration into an empty folder.

    Raises
    ------
    InputError
    """
    config = {"store": store.key, "seed": seed, **space.as_dict()}
    existing = _config_of(out)
    if existing is None and any(path.name != LOCK for path in out.iterdir()):
        raise InputError(f"--out {out}: holds other files and no sweep; name another folder")
    if existing is None:
        write_json(out / CONFIG, config)
    elif changed := differences(existing, json.loads(json.dumps(config))):
        raise InputError(
            f"--out {out}: holds a sweep of another configuration ({'; '.join(changed)}); resume "
            "that one, or name another folder"
        )


def _config_of(out: Path) -> dict[str, Any] | None:
    """Return the configuration of a folder's sweep, or None if there is no sweep.

    Raises
    ------
    InputError
        If the configuration cannot be read.
    """
    try:
        return read_object(out / CONFIG)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{out / CONFIG}: cannot be read ({error})") from None


def _check_not_over(out: Path, study: Study, count: int) -> None:
    """Raise if more trials are requested after the winner was tested.

    Raises
    ------
    InputError
    """
    if study.begun < count and (out / CHOSEN).exists():
        raise InputError(
            f"--out {out}: its winner was already evaluated on test, so it takes no more trials "
            f"({study.begun} exist, {count} requested); name another folder"
        )


def _finish(out: Path, store: Store, space: Space, study: Study, seed: int) -> Winner:
    """Write the sweep's outputs and return the winner."""
    rows, monitor = study.rows(), space.base.train.monitor
    best = ranked(rows, monitor)
    if not best:
        raise InputError(f"{out}: no trial is complete; the last one failed: {rows[-1].why}")
    recipe = space.recipe(best[0].values, name=f"{space.base.name}-best")
    write_yaml(out / BEST, recipe.model_dump())
    write_outputs(out, space, rows, study.importance(), title=store.title, seed=seed)
    return Winner(recipe=recipe, trial=best[0].number, score=best_score(best[0], monitor))
