"""What a trial sees, and which are pruned or fail."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import featstore
from featstore.errors import InputError
from featstore.format.rows import MappedRows
from pipeline.sweep import Space, load_space, space_of, sweep
from pipeline.sweep.study import open_study
from pipeline.train import trial as trials_module
from pipeline.train.data.feed import Feed
from pipeline.train.train import train
from pipeline.train.trial import FIRST_RUNG, REDUCTION, PrunedError, halving, run
from tests.fakes import ordered_store
from tests.sweeps import FIELDS, quiet, table, task_of, trials_of, write_space

optuna = pytest.importorskip("optuna")


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


def test_where_all_fail_that_is_an_error(tmp_path: Path, space: Space) -> None:
    store = ordered_store(40)
    store[0][:] = np.nan
    lines: list[str] = []
    with pytest.raises(InputError, match=r"train loss.*nan"):
        sweep(store, space, out=tmp_path / "out", trials=2, log=lines.append)
    assert [line.split(":")[1] for line in lines] == [" failed", " failed"]
