"""What a sweep leaves: outputs, the winner on test, and the command line."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import featstore
from featstore.errors import BusyError, InputError
from pipeline.cli import main
from pipeline.runs.files import read_metrics
from pipeline.runs.folder import LOCK, locked
from pipeline.sweep import Space, final, sweep
from pipeline.train import results
from pipeline.train.recipes.load import load_recipe
from pipeline.train.trial import FIRST_RUNG, REDUCTION
from tests.browsing import browse, needs_chromium
from tests.drawing import figures
from tests.fakes import ordered_store
from tests.featstore.test_docs import run as run_examples
from tests.folders import DOCS
from tests.stores import contents, write_store
from tests.sweeps import quiet, saved, table, write_space

pytest.importorskip("optuna")


def test_outputs_name_the_best_trial(tmp_path: Path, space: Space) -> None:
    lines: list[str] = []
    out = tmp_path / "out"
    with figures(drawn=True):
        winner = sweep(ordered_store(), space, out=out, seed=2, log=lines.append)
    files = (path for path in out.rglob("*") if path.is_file() and path.name != LOCK)
    names = sorted(str(path.relative_to(out)) for path in files)
    assert names == [
        *("best.yaml", "figures/history.png", "figures/importance.png"),
        *("report.html", "report.md"),
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
    page = (out / "report.html").read_text("utf-8")
    assert page.count("<circle") == 4
    assert f"trial {winner.trial}: {100 * winner.score:.1f} %" in page
    assert all(name in page for name in ("Importance", "head.hidden", "4 trials: 4 complete"))
    assert lines[-1].startswith("trial 3: val mean class accuracy ")
    assert lines[-1].endswith(f"best {100 * winner.score:.1f} % of trial {winner.trial} (4 of 4)")


PROBE = """
(() => {
  const table = [...document.querySelectorAll("table.sortable")].at(-1);
  table.querySelectorAll("thead button")[2].click();
  const scores = [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[2].textContent));
  return [document.querySelectorAll("circle").length, scores.length,
    scores.every((value, at) => !at || value <= scores[at - 1])];
})()
"""


@needs_chromium
def test_a_browser_sorts_the_trials(tmp_path: Path, space: Space) -> None:
    """In the light on a desk, in the dark on a phone."""
    sweep(ordered_store(), space, out=tmp_path / "out", log=quiet)
    page = (tmp_path / "out/report.html").read_text("utf-8")
    for dark, width in ((False, 1300), (True, 500)):
        folder = tmp_path / f"{width}"
        folder.mkdir()
        assert browse(page, PROBE, folder, width=width, dark=dark) == [4, 4, True]


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
    assert first.stdout.splitlines()[-1] == f"report {out}/final/report.html and report.md"
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
