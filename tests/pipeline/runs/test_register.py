import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

import featstore
from pipeline.runs.register import REGISTER, known_runs, register_run
from tests.stores import contents, write_store

KEY, OTHER = "ab" * 32, "cd" * 32
EACH, PROCESSES = 200, 4


@pytest.fixture
def store(tmp_path: Path) -> featstore.Store:
    return featstore.open(write_store(tmp_path / "features/s.zarr", contents(key=KEY)))


def make_run(folder: Path, store_key: str = KEY) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"store_key": store_key}))
    return folder


def register(store: featstore.Store, run: Path, seed: int = 0) -> None:
    register_run(store, run, recipe="bilstm", seed=seed, log=pytest.fail)


def line(**changed: object) -> str:
    run = {"run": "/nowhere", "store_key": KEY, "recipe": "x", "seed": 0, "finished": "2026-01-01"}
    return json.dumps({**run, **changed})


def test_line_of_a_run(store: featstore.Store, tmp_path: Path, monkeypatch) -> None:
    make_run(tmp_path / "runs/one\né")
    monkeypatch.chdir(tmp_path)
    register(store, Path("runs/one\né"), seed=3)
    (text,) = (tmp_path / "features" / REGISTER).read_text("ascii").splitlines()
    own = json.loads(text)
    assert list(own) == ["run", "store_key", "recipe", "seed", "finished"]
    assert own["run"] == str(tmp_path / "runs/one\né")
    assert (own["store_key"], own["recipe"], own["seed"]) == (KEY, "bilstm", 3)
    (known,) = known_runs(tmp_path / "features")
    assert str(known.run) == own["run"]
    assert known.finished == own["finished"]


def test_known_are_those_that_are_still_there(store: featstore.Store, tmp_path: Path) -> None:
    root = tmp_path / "features"
    runs = [make_run(tmp_path / f"runs/{name}") for name in ("kept", "removed", "replaced", "torn")]
    for run in runs:
        register(store, run)
    assert [known.run for known in known_runs(root, KEY)] == runs
    assert known_runs(root, KEY[:12]) == known_runs(root)
    assert known_runs(root, OTHER) == []
    shutil.rmtree(runs[1])
    (runs[2] / "metrics.json").write_text(json.dumps({"store_key": OTHER}))
    (runs[3] / "metrics.json").write_text('{"store_key')
    assert [known.run for known in known_runs(root)] == runs[:1]


def test_a_folder_that_was_trained_into_again_counts_once(
    store: featstore.Store, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    register(store, run, seed=1)
    register(store, run, seed=2)
    (known,) = known_runs(tmp_path / "features")
    assert known.seed == 2


def test_torn_and_foreign_lines_are_passed_over(store: featstore.Store, tmp_path: Path) -> None:
    root = tmp_path / "features"
    run = make_run(tmp_path / "run")
    foreign = ["", "[]", "null", "no json", "{}", line(seed="0"), line(run=None), line(run="run")]
    foreign += [line(recipe=1), line(run="/a\0b"), "\udcff"]
    text = "\n".join([*foreign, line(run=str(run), more=1), line()[:40]])
    (root / REGISTER).write_text(text, "utf-8", "surrogateescape")
    assert [known.run for known in known_runs(root)] == [run]
    second = make_run(tmp_path / "second")
    register(store, second)  # behind a line without its end
    assert [known.run for known in known_runs(root)] == [run, second]


def test_no_register_no_runs(tmp_path: Path) -> None:
    assert known_runs(tmp_path) == []
    assert known_runs(tmp_path / "nowhere") == []


def test_a_store_at_a_remote_place_has_no_register(store: featstore.Store, tmp_path: Path) -> None:
    store.path = "s3://bucket/features/s.zarr"  # type: ignore[assignment]
    register_run(store, make_run(tmp_path / "run"), recipe="x", seed=0, log=pytest.fail)
    assert not (tmp_path / "features" / REGISTER).exists()


def test_a_register_that_cannot_be_written_is_one_line(
    store: featstore.Store, tmp_path: Path
) -> None:
    register_path = tmp_path / "features" / REGISTER
    register_path.mkdir()
    said: list[str] = []
    register_run(store, make_run(tmp_path / "run"), recipe="x", seed=0, log=said.append)
    (one,) = said
    assert str(register_path) in one
    assert "Is a directory" in one
    assert known_runs(tmp_path / "features") == []


def test_trainings_that_end_together_do_not_tear_it(store: featstore.Store, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_register_many, args=(store.path, tmp_path / f"runs/{number}"))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = (tmp_path / "features" / REGISTER).read_text("ascii").split("\n")
    assert lines.pop() == ""
    runs = [json.loads(own)["run"] for own in lines if own]
    assert len(set(runs)) == len(runs) == EACH * PROCESSES


def _register_many(path: Path, runs: Path) -> None:
    opened = featstore.open(path)
    for number in range(EACH):
        register(opened, runs / f"{number:0200}")


def test_the_register_follows_no_link(store: featstore.Store, tmp_path: Path) -> None:
    other = tmp_path / "thesis.txt"
    other.write_text("mine")
    (tmp_path / "features" / REGISTER).symlink_to(other)
    said: list[str] = []
    run = make_run(tmp_path / "run")
    register_run(store, run, recipe="bilstm", seed=0, log=said.append)
    assert other.read_text() == "mine"
    assert len(said) == 1
    assert REGISTER in said[0]
