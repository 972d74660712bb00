"""A sweep from its beginning to its end, and the one look at test. Read it from top to bottom."""

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
from pipeline.runs.files import write_json, write_yaml
from pipeline.runs.folder import LOCK, locked
from pipeline.sweep.report import name_of, shown, write_outputs
from pipeline.sweep.space import Space
from pipeline.sweep.study import Row, Study, best_score, open_study, ranked
from pipeline.sweep.trial import Outcome, Task
from pipeline.sweep.workers import here, in_processes, on_dask
from pipeline.train.data.checks import checked_parts
from pipeline.train.learner import device_of
from pipeline.train.recipes.load import Recipe, load_recipe
from pipeline.train.train import train
from pipeline.types import Log

CONFIG, STUDY, BEST, FINAL = "sweep.json", "study.db", "best.yaml", "final"
# The recipe that looks at test, there from before it does.
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
        What the recipe monitors, on val, in the trial's best epoch.
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
    """Train a recipe with other values of its fields, again and again, and keep the best by val.

    Values are chosen by Optuna's tree-structured Parzen estimator; after 4, 12, 36, ... epochs a
    trial goes on if it is among the best third. No trial touches test.

    Parameters
    ----------
    store : Store
    space : Space
    out : Path
        The folder of the sweep. One that is there goes on, up to `trials`; trials that were cut
        off are repeated.
    trials : int, optional
        How many in all; by default as the space says.
    workers : int
        Processes on this machine. With several, each has one thread, and reads a mapped store
        without copying it; the calling program needs ``if __name__ == "__main__":``.
    dask : str, optional
        Make trials on a cluster instead, see `pipeline.system.dask_cluster.Cluster`.
    seed : int
        Of every training, and of the choice of trials.
    device : str
        ``auto`` takes a GPU where there is one; else a name that torch knows.
    log : callable
        Takes one line at a time.

    Returns
    -------
    Winner

    Raises
    ------
    InputError
        If the recipe does not fit the store, `out` holds another sweep or one whose winner has
        seen test, Optuna is not installed, or no trial is complete.
    BusyError
        If another process is at `out`.

    Notes
    -----
    With one worker, store, space, seed and machine decide the trials, also where the sweep was
    killed in between. With several, it matters who is ready first.
    """
    checked_parts(store, space.base)
    device_of(space.base, device)
    if workers > 1 and dask is not None:
        raise InputError(f"--workers is {workers} and --dask {dask}; give one of the two")
    if trials is not None and trials < 1:
        raise InputError(f"trials is {trials}; it must be 1 or more")
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, out):
        _check_same(out, store, space, seed)
        with open_study(out / STUDY, space, seed=seed) as study:
            count = space.trials if trials is None else trials
            _check_not_over(out, study, count)
            if cut_off := study.repeat_cut_off():
                log(f"trials cut off, to be repeated: {cut_off}")
            search = _Search(store, space, study, count, seed=seed, device=device, log=log)
            if dask is not None:
                outcomes = on_dask(search.tasks(), store, dask, log)
            elif workers > 1:
                outcomes = in_processes(search.tasks(), store, workers)
            else:
                outcomes = here(search.tasks(), store)
            with closing(outcomes):  # an interrupt ends the workers at once
                for outcome in outcomes:
                    search.note(outcome)
            return _finish(out, store, space, study, seed)


@dataclass(frozen=True, slots=True)
class _Search:
    """Gives out trials, up to a number of them, and takes their outcomes."""

    store: Store
    space: Space
    study: Study
    count: int
    _: KW_ONLY
    seed: int
    device: str
    log: Log

    def tasks(self) -> Iterator[Task]:
        """Yield trials, each chosen when it is asked for."""
        while self.study.begun < self.count:
            number, values = self.study.ask()
            try:
                recipe = self.space.recipe(values)
            except InputError as error:  # each value fits, but not with the others
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
        """Keep what a trial found, and say it."""
        row = self.study.tell(outcome)
        rows = self.study.rows()
        line = f"trial {row.number}: {self._said(row)}"
        if best := ranked(rows, self._monitor):
            score = shown(best_score(best[0], self._monitor), self._monitor)
            line += f"; best {score} of trial {best[0].number}"
        self.log(f"{line} ({len(rows)} of {self.count})")

    @property
    def _monitor(self) -> str:
        return self.space.base.train.monitor

    def _said(self, row: Row) -> str:
        if row.state == "fail":
            return f"failed: {row.why}"
        word = "" if row.state == "complete" else "pruned, "
        score = shown(best_score(row, self._monitor), self._monitor)
        epochs = count_of(len(row.scores), "epoch")
        return f"{word}val {name_of(self._monitor)} {score}, {epochs}, {row.seconds:.1f} s"


def final(store: Store, out: Path, *, device: str = "auto", log: Log = print) -> Path:
    """Train the winner of a sweep as an ordinary run, and look at test; only the first time.

    Parameters
    ----------
    store : Store
        That of the sweep.
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
        If `out` holds no sweep with a winner, or one of another store.
    BusyError
        If another process is at `out`.
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
            log(f"{out}: the winner has been evaluated on test before, and is not again")
            return out / FINAL
        if not (out / CHOSEN).exists():  # else it was cut off, and goes on
            new = out / f".{CHOSEN}"
            shutil.copyfile(out / BEST, new)
            new.replace(out / CHOSEN)
        recipe = load_recipe(out / CHOSEN)
        return train(store, recipe, out=out / FINAL, seed=config["seed"], device=device, log=log)


def _check_same(out: Path, store: Store, space: Space, seed: int) -> None:
    """Refuse a folder that holds another sweep; note in an empty one what this one is.

    Raises
    ------
    InputError
    """
    ours = {"store": store.key, "seed": seed, **space.as_dict()}
    theirs = _config_of(out)
    if theirs is None and any(path.name != LOCK for path in out.iterdir()):
        raise InputError(f"--out {out}: holds other files and no sweep; name another folder")
    if theirs is None:
        write_json(out / CONFIG, ours)
    elif changed := differences(theirs, json.loads(json.dumps(ours))):
        raise InputError(
            f"--out {out}: holds a sweep of another configuration ({'; '.join(changed)}); go on "
            "with that one, or name another folder"
        )


def _config_of(out: Path) -> dict[str, Any] | None:
    """Return what a folder's sweep is, or None where there is none.

    Raises
    ------
    InputError
        If that cannot be read.
    """
    try:
        return read_object(out / CONFIG)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{out / CONFIG}: cannot be read ({error})") from None


def _check_not_over(out: Path, study: Study, count: int) -> None:
    """Refuse more trials once test has been looked at.

    Raises
    ------
    InputError
    """
    if study.begun < count and (out / CHOSEN).exists():
        raise InputError(
            f"--out {out}: its winner has been evaluated on test, so no more trials are chosen "
            f"({study.begun} are there, {count} asked for); name another folder"
        )


def _finish(out: Path, store: Store, space: Space, study: Study, seed: int) -> Winner:
    """Write what the sweep found."""
    rows, monitor = study.rows(), space.base.train.monitor
    best = ranked(rows, monitor)
    if not best:
        raise InputError(f"{out}: no trial is complete; the last one failed: {rows[-1].why}")
    recipe = space.recipe(best[0].values, name=f"{space.base.name}-best")
    write_yaml(out / BEST, recipe.model_dump())
    write_outputs(out, space, rows, study.importance(), title=store.title, seed=seed)
    return Winner(recipe=recipe, trial=best[0].number, score=best_score(best[0], monitor))
