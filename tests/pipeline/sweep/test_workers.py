"""Sweeps that are killed, in one process and in several."""

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

import featstore
from featstore.errors import InputError
from pipeline.sweep import Space, load_space, sweep
from pipeline.sweep.study import open_study, ranked
from pipeline.sweep.workers import in_processes
from pipeline.system import processes
from pipeline.system.processes import worker_processes
from pipeline.train.trial import Task, call, run
from tests.fakes import ordered_store
from tests.folders import ROOT
from tests.sweeps import quiet, saved, table, task_of, trials_of, write_space

pytest.importorskip("optuna")

PATIENCE = 300  # for machines that do much else
PROGRAM = "import sys; from pipeline.cli import main; main(sys.argv[1:])"


@pytest.fixture
def on_disk(tmp_path: Path) -> featstore.Store:
    return featstore.open(saved(tmp_path / "store.zarr", ordered_store(60)))


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return load_space(write_space(tmp_path, epochs=2))


def wait_for(what: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "sweep", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def running(database: Path) -> int:
    """How many trials are running, with all their values."""
    asked = (
        "select count(*) from trials where state = 'RUNNING' and (select count(*) from "
        "trial_params where trial_params.trial_id = trials.trial_id) = 3"
    )
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return int(connection.execute(asked).fetchone()[0])
    finally:
        connection.close()


def kill_in_a_trial(child: subprocess.Popen[str], out: Path, after: int, count: int = 1) -> None:
    """Kill a sweep while it is at some trials, when so many have ended."""
    assert child.stdout is not None
    with child.stdout:
        assert any(f"({after} of " in line for line in child.stdout)
        wait_for(lambda: running(out / "study.db") == count)
        os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert running(out / "study.db") == count
    assert not (out / "trials.csv").exists()


def test_killed_in_a_trial_and_continued_it_ends_as_if_undisturbed(
    tmp_path: Path, on_disk: featstore.Store
) -> None:
    path = write_space(tmp_path, trials=13, epochs=20)
    sweep(on_disk, load_space(path), out=tmp_path / "whole", log=quiet)
    out = tmp_path / "killed"
    given = (str(path), "--store", str(on_disk.path), "--out", str(out))
    for after in (2, 11):
        kill_in_a_trial(started(tmp_path, *given), out, after)
    lines: list[str] = []
    sweep(on_disk, load_space(path), out=out, log=lines.append)
    assert lines[0] == "interrupted trials to repeat: 1"
    assert trials_of(out) == trials_of(tmp_path / "whole")
    assert [row["trial"] for row in table(out)] == [str(n) for n in range(15) if n not in (2, 12)]


def children_of(pid: int) -> list[int]:
    return [int(own) for own in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks into /proc")
def test_two_processes_are_killed_with_their_parent_and_the_next_ones_end_it(
    tmp_path: Path, on_disk: featstore.Store
) -> None:
    path, out = write_space(tmp_path, trials=6, epochs=20), tmp_path / "out"
    given = (str(path), "--store", str(on_disk.path), "--out", str(out), "--workers", "2")
    child = started(tmp_path, *given)
    wait_for((out / "sweep.json").exists)
    wait_for(lambda: child.poll() is not None or len(children_of(child.pid)) >= 3)
    processes = children_of(child.pid)  # two, and what watches multiprocessing's resources
    kill_in_a_trial(child, out, 2, count=2)
    wait_for(lambda: not any(map(is_alive, processes)))
    second = started(tmp_path, *given)
    said, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0
    assert "interrupted trials to repeat: 2\n" in said
    rows = table(out)
    assert len(rows) == 6
    space = load_space(path)
    with open_study(out / "study.db", space, seed=0) as study:
        found = study.rows()
    best = ranked(found, "mean_class_accuracy")[0]
    # One thread here as well, so every score is that of a trial in this process.
    for row in found:
        recipe = space.recipe(row.values).model_dump()
        alone = run(on_disk, task_of(on_disk, space, recipe=recipe, seed=0)).scores
        assert alone[: len(row.scores)] == row.scores
    assert f"winner trial {best.number}, {out / 'best.yaml'}" in said


def die(task: Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_a_sentence(
    tmp_path: Path, on_disk: featstore.Store, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "pipeline.sweep.workers.CALL_ON_ONE_THREAD"
    monkeypatch.setattr(name, "tests.pipeline.sweep.test_workers:die")
    with pytest.raises(InputError, match=r"a worker process was killed.* than 2 to resume"):
        sweep(on_disk, space, out=tmp_path / "out", workers=2, log=quiet)
    monkeypatch.undo()
    lines: list[str] = []
    sweep(on_disk, space, out=tmp_path / "out", log=lines.append)
    assert lines[0] == "interrupted trials to repeat: 2"


def wait_forever(task: Task) -> None:
    Path(os.environ["STARTED"]).touch()
    threading.Event().wait()


@pytest.mark.parametrize("at", ["a wait", "a note"])
def test_an_interrupt_ends_the_workers_at_once(tmp_path: Path, monkeypatch, at: str) -> None:
    """In either place a process that waits for its trials would never come to its end."""
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    name = "pipeline.sweep.workers.CALL_ON_ONE_THREAD"
    monkeypatch.setattr(name, "tests.pipeline.sweep.test_workers:wait_forever")

    def interrupted(*given: Any, **more: Any) -> None:
        wait_for((tmp_path / "started").exists)
        raise KeyboardInterrupt

    if at == "a wait":
        monkeypatch.setattr(processes, "wait", interrupted)
        store = cast(featstore.Store, tmp_path)  # only pickled
        with pytest.raises(KeyboardInterrupt):
            list(in_processes([cast(Task, None)] * 2, store, 2))
    else:
        with pytest.raises(KeyboardInterrupt):
            submit_and(interrupted)


def submit_and(then: Callable[[], None]) -> None:
    with worker_processes(1) as pool:
        pool.submit(wait_forever, cast(Task, None))
        then()


def test_another_store_in_the_place_of_the_first_is_refused_by_workers(
    on_disk: featstore.Store, space: Space
) -> None:
    with pytest.raises(InputError, match="when the sweep started"):
        call((pickle.dumps(on_disk), task_of(on_disk, space, key="0" * 64)))


def test_dask_workers_make_the_same_trials(
    tmp_path: Path, on_disk: featstore.Store, space: Space
) -> None:
    pytest.importorskip("distributed")
    out = tmp_path / "out"
    with pytest.raises(InputError, match="pass only one of them"):
        sweep(on_disk, space, out=out, workers=2, dask="local:1", log=quiet)
    sweep(on_disk, space, out=out, dask="local:1", log=quiet)
    with open_study(out / "study.db", space, seed=0) as study:
        found = study.rows()
    assert len(found) == 4
    for row in found:
        recipe = space.recipe(row.values).model_dump()
        expected = run(on_disk, task_of(on_disk, space, recipe=recipe, seed=0)).scores
        assert row.scores == expected
