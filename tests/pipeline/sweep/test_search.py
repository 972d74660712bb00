"""What a trial sees, what a sweep leaves, and how it goes on."""

import csv
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import featstore
from featstore.errors import BusyError, InputError
from featstore.format.rows import MappedRows
from pipeline.cli import main
from pipeline.runs.files import read_metrics
from pipeline.runs.folder import LOCK, locked
from pipeline.sweep import Space, final, load_space, space_of, sweep
from pipeline.sweep.study import open_study
from pipeline.train import results
from pipeline.train import trial as trials_module
from pipeline.train.data.feed import Feed
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from pipeline.train.trial import FIRST_RUNG, REDUCTION, Outcome, PrunedError, halving, run
from tests.drawing import figures
from tests.fakes import ordered_store
from tests.featstore.test_docs import run as run_examples
from tests.folders import DOCS
from tests.stores import contents, write_store
from tests.sweeps import FIELDS, quiet, saved, table, task_of, trials_of, write_space

optuna = pytest.importorskip("optuna")


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return load_space(write_space(tmp_path))


@pytest.fixture
def on_disk(tmp_path: Path) -> featstore.Store:
    return featstore.open(saved(tmp_path / "store.zarr", ordered_store(60)))


@pytest.mark.parametrize("standardise", ["none", "train"])
@pytest.mark.parametrize("imbalance", ["none", "sampler"])
def test_a_trial_has_the_scores_of_a_training_and_holds_nothing_where_shared(
    tmp_path: Path,
    on_disk: featstore.Store,
    monkeypatch: pytest.MonkeyPatch,
    standardise: str,
    imbalance: str,
) -> None:
    given = {"imbalance": imbalance, "epochs": 3}
    space = load_space(write_space(tmp_path, **given))
    recipe = space.base.model_copy(
        update={"data": space.base.data.model_copy(update={"standardise": standardise})}
    )
    folder = train(on_disk, recipe, out=tmp_path / "run", seed=3, log=quiet)
    with (folder / "history.csv").open() as file:
        expected = [float(row["val_mean_class_accuracy"]) for row in csv.DictReader(file)]
    held: list[bool] = []
    plain = Feed._hold

    def watched(self: Feed) -> Any:
        held.append(True)
        return plain(self)

    monkeypatch.setattr(Feed, "_hold", watched)
    assert isinstance(on_disk.rows, MappedRows)
    alone = run(on_disk, task_of(on_disk, space, recipe=recipe.model_dump()))
    assert held == [True]
    beside = run(on_disk, task_of(on_disk, space, recipe=recipe.model_dump()), shared=True)
    assert held == [True]
    assert (alone.state, beside.state) == ("complete", "complete")
    assert alone.scores == beside.scores == pytest.approx(expected, rel=1e-5)


def test_test_clips_are_never_looked_at(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    plain = Feed.batches

    def watched(self: Feed, clips: np.ndarray, *given: Any, **more: Any) -> Any:
        seen.append(clips.tolist())
        return plain(self, clips, *given, **more)

    monkeypatch.setattr(Feed, "batches", watched)
    store, other = ordered_store(60), ordered_store(60)
    sweep(store, space, out=tmp_path / "one", log=quiet)
    epochs = [int(row["epochs"]) for row in table(tmp_path / "one")]
    assert len(seen) == 2 * sum(epochs)
    test = set(store.split("test").tolist())
    assert test
    assert not test & {clip for clips in seen for clip in clips}
    for clip in other.split("test").tolist():  # others in their place change nothing
        other[clip][:] = np.nan
        other.labels[clip] = 1 - other.labels[clip]
    sweep(other, space, out=tmp_path / "two", log=quiet)
    assert trials_of(tmp_path / "one") == trials_of(tmp_path / "two")


@pytest.mark.parametrize("monitor", ["top1", "loss"])
def test_pruning_is_that_of_optunas_successive_halving(monitor: str) -> None:
    rng = np.random.default_rng(0)
    better = min if monitor == "loss" else max
    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=FIRST_RUNG, reduction_factor=REDUCTION
    )
    verdicts = set()
    for _ in range(30):
        direction = "minimize" if monitor == "loss" else "maximize"
        study = optuna.create_study(direction=direction, pruner=pruner)
        histories: list[list[float]] = []
        for _ in range(30):
            watch = trials_module._Watch(monitor, halving(histories, monitor))
            asked, scores = study.ask(), list[float]()
            for epoch, score in enumerate(rng.random(40).round(2).tolist(), start=1):
                scores.append(score)
                asked.report(better(scores), epoch)
                few = sum(len(own) >= epoch for own in histories) < REDUCTION
                expected = asked.should_prune() and not few
                try:
                    watch({f"val_{monitor}": score})
                except PrunedError:
                    assert expected
                    verdicts.add(epoch)
                    break
                assert not expected
            state = optuna.trial.TrialState.PRUNED if epoch < 40 else None
            study.tell(asked, None if state else scores[-1], state)
            histories.append(scores)
    assert verdicts == {FIRST_RUNG, FIRST_RUNG * REDUCTION, FIRST_RUNG * REDUCTION**2}


def test_outputs_name_the_best_trial(tmp_path: Path, space: Space) -> None:
    lines: list[str] = []
    out = tmp_path / "out"
    with figures(drawn=True):
        winner = sweep(ordered_store(), space, out=out, seed=2, log=lines.append)
    files = (path for path in out.rglob("*") if path.is_file() and path.name != LOCK)
    names = sorted(str(path.relative_to(out)) for path in files)
    assert names == [
        *("best.yaml", "figures/history.png", "figures/importance.png", "report.md"),
        *("study.db", "sweep.json", "trials.csv"),
    ]
    rows = table(out)
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3"]
    scores = [float(row["val_mean_class_accuracy"]) for row in rows]
    assert winner.trial == int(np.argmax(scores))
    assert winner.score == pytest.approx(max(scores), rel=1e-5)
    best = rows[winner.trial]
    loaded = load_recipe(out / "best.yaml")
    assert loaded == winner.recipe
    assert loaded.name == "small-best"
    assert f"{loaded.train.lr:.6g}" == best["train.lr"]
    assert str(loaded.head.hidden) == best["head.hidden"]
    report = (out / "report.md").read_text("utf-8")
    first = report.partition("| ---: |\n")[2]
    assert first.startswith(f"| {winner.trial} | {100 * winner.score:.1f} % |")
    assert "4 trials: 4 complete, 0 pruned, 0 failed" in report
    assert lines[-1].startswith("trial 3: val mean class accuracy ")
    assert lines[-1].endswith(f"best {100 * winner.score:.1f} % of trial {winner.trial} (4 of 4)")


def test_the_winner_is_trained_once_on_test_and_then_the_sweep_is_over(
    tmp_path: Path, space: Space
) -> None:
    store, out = ordered_store(), tmp_path / "out"
    with pytest.raises(InputError, match="holds no sweep with a winner"):
        final(store, out)
    winner = sweep(store, space, out=out, seed=2, log=quiet)
    folder = final(store, out, log=quiet)
    assert folder == out / "final"
    metrics = read_metrics(folder)
    assert metrics["val"]["mean_class_accuracy"] == winner.score
    assert (metrics["seed"], metrics["recipe"]) == (2, "small-best")
    assert metrics["test"]["clips"] > 0
    before = (folder / "metrics.json").read_bytes()
    lines: list[str] = []
    assert final(store, out, log=lines.append) == folder
    assert lines == [f"{out}: skipped, the winner was already evaluated on test"]
    assert (folder / "metrics.json").read_bytes() == before
    assert sweep(store, space, out=out, seed=2, log=quiet) == winner  # nothing is left to do
    with pytest.raises(InputError, match=r"evaluated on test, .*4 exist, 5 requested"):
        sweep(store, space, out=out, seed=2, trials=5, log=quiet)
    other = ordered_store(40)
    other.key = "0" * 64
    with pytest.raises(InputError, match="is a sweep on the store f00d"):
        final(other, out)


def test_a_look_at_test_that_is_cut_off_is_the_one_look(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, out = ordered_store(), tmp_path / "out"
    winner = sweep(store, space, out=out, seed=2, log=quiet)

    def killed(*given: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results, "draw_figures", killed)  # scores were printed before
        with pytest.raises(KeyboardInterrupt):
            final(store, out, log=quiet)
    with pytest.raises(InputError, match="evaluated on test, so it takes no more trials"):
        sweep(store, space, out=out, seed=2, trials=5, log=quiet)
    with locked(out, out), pytest.raises(BusyError, match="another process"):
        final(store, out)
    (out / "best.yaml").write_text("head: {kind: linear}")  # whatever becomes of it
    folder = final(store, out, log=quiet)
    assert read_metrics(folder)["val"]["mean_class_accuracy"] == winner.score


def test_losses_are_made_small(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path, monitor="loss"))
    winner = sweep(ordered_store(), space, out=tmp_path / "out", log=quiet)
    scores = [float(row["val_loss"]) for row in table(tmp_path / "out")]
    assert winner.score == pytest.approx(min(scores), rel=1e-5)
    assert f"| {winner.trial} | {winner.score:.3f} |" in (tmp_path / "out/report.md").read_text()


def test_bad_trials_are_pruned_and_never_win(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path, trials=22, epochs=FIRST_RUNG + 2))
    lines: list[str] = []
    winner = sweep(ordered_store(), space, out=tmp_path / "out", log=lines.append)
    rows = table(tmp_path / "out")
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned
    assert all(row["state"] == "complete" for row in rows[:REDUCTION])
    for row in rows:
        assert int(row["epochs"]) == FIRST_RUNG + 2 * (row["state"] == "complete")
    assert rows[winner.trial]["state"] == "complete"
    assert any("pruned, val mean class accuracy" in line for line in lines)
    with open_study(tmp_path / "out" / "study.db", space, seed=0) as study:
        shares = study.importance()
    assert set(shares) == set(FIELDS)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "train.lr"  # of which most values learn nothing


def test_trials_that_fail_count_and_say_why(tmp_path: Path) -> None:
    (tmp_path / "wide.yaml").write_text(
        yaml.safe_dump({"head": {"kind": "transformer", "hidden": 8, "heads": 2}})
    )
    fields = {"head.heads": {"choices": [2, 4]}, "head.hidden": {"choices": [4, 6]}}
    recipe = {"recipe": str(tmp_path / "wide.yaml"), "trials": 12}
    fields["train.epochs"] = {"choices": [1, 2]}
    with pytest.raises(InputError, match=r"head\.hidden|head\.heads"):
        space_of({**recipe, "space": {"head.heads": {"choices": [2, 3]}}})
    out = tmp_path / "out"
    winner = sweep(ordered_store(40), space_of({**recipe, "space": fields}), out=out, log=quiet)
    rows = table(out)
    apart = [row for row in rows if (row["head.heads"], row["head.hidden"]) == ("4", "6")]
    assert 0 < len(apart) < len(rows) == 12
    assert [row["state"] == "fail" for row in rows] == [row in apart for row in rows]
    assert "head" in apart[0]["why"]
    assert rows[winner.trial] not in apart
    assert "Failed: " in (out / "report.md").read_text("utf-8")


def test_a_want_of_memory_fails_a_trial(tmp_path: Path) -> None:
    write_space(tmp_path, epochs=1)
    fields = {"data.steps": {"choices": [4, 10**11]}}
    space = space_of({"recipe": str(tmp_path / "small.yaml"), "trials": 6, "space": fields})
    sweep(ordered_store(), space, out=tmp_path / "out", log=quiet)
    rows = table(tmp_path / "out")
    assert [row["state"] == "fail" for row in rows] == [len(row["data.steps"]) > 1 for row in rows]
    assert any("allocate" in row["why"] for row in rows)


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


def test_where_all_fail_that_is_an_error(tmp_path: Path, space: Space) -> None:
    store = ordered_store(40)
    store[0][:] = np.nan
    lines: list[str] = []
    with pytest.raises(InputError, match=r"train loss.*nan"):
        sweep(store, space, out=tmp_path / "out", trials=2, log=lines.append)
    assert [line.split(":")[1] for line in lines] == [" failed", " failed"]


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


def test_without_optuna_it_says_what_to_install(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install optuna"):
        sweep(ordered_store(40), space, out=tmp_path / "out", log=quiet)


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "features").mkdir()
    store = featstore.open(saved(tmp_path / "features" / "a.zarr", ordered_store(60)))
    write_space(tmp_path, epochs=2)
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(main, ["sweep", "space.yaml", "--trials", "2", "--final"])
    assert first.exit_code == 0, first.output
    out = Path(f"sweeps/space-{store.key[:8]}")
    top1 = read_metrics(out / "final")["test"]["top1"]
    assert f"test {'top-1':20} {100 * top1:.1f} %" in first.stdout
    assert first.stdout.splitlines()[-1] == f"report {out}/final/report.md"
    again = CliRunner().invoke(main, ["sweep", "space.yaml", "--trials", "2", "--final"])
    assert again.exit_code == 0, again.output
    assert "already evaluated on test" in again.stdout
    assert f"test {'top-1':20} {100 * top1:.1f} %" in again.stdout
    more = CliRunner().invoke(main, ["sweep", "space.yaml"])
    assert more.exit_code == 2
    assert "no more trials" in more.stderr
    trained = CliRunner().invoke(
        main, ["train", "--recipe", str(out / "best.yaml"), "--out", "again"]
    )
    assert trained.exit_code == 0, trained.output
    assert read_metrics(Path("again"))["val"] == read_metrics(out / "final")["val"]


def test_examples_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = contents(title="cabin", features={})
    (tmp_path / "features").mkdir()
    write_store(tmp_path / "features" / "cabin-abababababab.zarr", made)
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "sweep.md").read_text("utf-8")
    rungs = [FIRST_RUNG * REDUCTION**i for i in range(3)]
    assert f"After {rungs[0]}, {rungs[1]}, {rungs[2]}, ... epochs" in page
    examples = run_examples(DOCS / "sweep.md")
    assert examples.failed == 0, capsys.readouterr().out
    assert examples.attempted > 10
