"""Studies that are continued, damaged, or in the way of another."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from featstore.errors import BusyError, InputError
from pipeline.runs.folder import locked
from pipeline.sweep import Space, load_space, space_of, sweep
from pipeline.sweep.study import open_study
from pipeline.train.trial import Outcome
from tests.drawing import figures
from tests.fakes import ordered_store
from tests.sweeps import FIELDS, quiet, table, trials_of, write_space

pytest.importorskip("optuna")


def test_what_is_cut_off_again_and_again_fails(tmp_path: Path, space: Space) -> None:
    path = tmp_path / "study.db"
    for queued in (0, 1, 1, 0):
        with open_study(path, space, seed=0) as study:
            assert study.repeat_cut_off() == queued
            assert study.begun == (not queued and path.stat().st_size > 0 and len(study.rows()))
            first = study.ask()[1]
    with open_study(path, space, seed=0) as study:
        assert study.repeat_cut_off() == 1
        (row,) = study.rows()
    assert (row.state, row.why.partition(",")[0]) == ("fail", "its process was killed 3 times")
    assert row.values != first


def test_a_file_in_the_place_of_the_study_is_a_sentence(tmp_path: Path, space: Space) -> None:
    store, out = ordered_store(), tmp_path / "out"
    sweep(store, space, out=out, trials=1, log=quiet)
    (out / "study.db").write_text("nothing of Optuna's" * 100)
    with pytest.raises(InputError, match=r"study\.db:.*another --out"):
        sweep(store, space, out=out, trials=1, log=quiet)
    with pytest.raises(InputError, match=r"trials is 0;.*1"):
        sweep(store, space, out=out, trials=0, log=quiet)


@pytest.mark.parametrize(
    "change",
    [
        "update alembic_version set version_num = 'v9.9.9'",
        "update trials set state = 'PAUSED'",
        "delete from trial_params",
        "update trial_user_attributes set value_json = '[]'",
        "update trial_params set param_name = cast(x'cf' as text) where param_name = 'train.lr'",
    ],
)
def test_a_study_of_another_optuna_or_damaged_is_a_sentence(
    tmp_path: Path, space: Space, change: str
) -> None:
    path = tmp_path / "study.db"
    with open_study(path, space, seed=0) as study:
        number, _ = study.ask()
        study.tell(Outcome(number=number, state="complete", scores=[0.5]))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(change)
    with pytest.raises(InputError) as caught, open_study(path, space, seed=0):
        pass
    assert str(path) in str(caught.value)


def test_every_seed_that_numpy_takes_will_do(tmp_path: Path, space: Space) -> None:
    with figures(drawn=True):
        sweep(ordered_store(), space, out=tmp_path / "out", seed=2**40, log=quiet)
    assert (tmp_path / "out" / "figures" / "importance.png").exists()


def test_more_trials_are_those_of_one_long_sweep(tmp_path: Path) -> None:
    store, space = ordered_store(60), load_space(write_space(tmp_path, epochs=2))
    sweep(store, space, out=tmp_path / "long", trials=14, log=quiet)
    for count in (3, 4, 14):
        sweep(store, space, out=tmp_path / "short", trials=count, log=quiet)
        assert len(table(tmp_path / "short")) == count
    assert trials_of(tmp_path / "long") == trials_of(tmp_path / "short")
    assert len({row["train.lr"] for row in table(tmp_path / "long")}) == 14


def test_another_sweep_in_the_way_is_refused(tmp_path: Path, space: Space) -> None:
    store, out = ordered_store(40), tmp_path / "out"
    sweep(store, space, out=out, trials=1, log=quiet)
    before = (out / "trials.csv").read_bytes()
    with pytest.raises(InputError, match=r"\(seed: 0 -> 1\)"):
        sweep(store, space, out=out, seed=1, log=quiet)
    with pytest.raises(InputError, match=r"\(recipe\.train\.epochs: 8 -> 9\)"):
        sweep(store, load_space(write_space(tmp_path, epochs=9)), out=out, log=quiet)
    changed = {**FIELDS, "train.lr": {**FIELDS["train.lr"], "high": 0.2}}
    write_space(tmp_path)
    other = space_of({"recipe": str(tmp_path / "small.yaml"), "space": changed})
    with pytest.raises(InputError, match=r"\(space\.train\.lr\.high: 0\.1 -> 0\.2\)"):
        sweep(store, other, out=out, log=quiet)
    store.key = "0" * 64
    with pytest.raises(InputError, match=r"store: f00d.* -> 0000"):
        sweep(store, space, out=out, log=quiet)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("mine")
    with pytest.raises(InputError, match="holds other files and no sweep"):
        sweep(store, space, out=tmp_path / "mine", log=quiet)
    with locked(out, out), pytest.raises(BusyError, match="another process"):
        sweep(ordered_store(40), space, out=out, log=quiet)
    assert (out / "trials.csv").read_bytes() == before
