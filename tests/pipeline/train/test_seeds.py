import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.metrics.bootstrap import intervals
from pipeline.report.tables import runs_csv, runs_latex
from pipeline.runs.files import read_metrics, read_predictions, write_json
from pipeline.train.recipes.load import Recipe, load_recipe
from pipeline.train.seeds import folder_of, is_summary, read_summary, summarise, train_all
from pipeline.train.train import train
from pipeline.types import Log
from tests.browsing import browse, needs_chromium
from tests.fakes import FakeStore, ordered_store
from tests.pipeline.report.test_html import text_of

SMALL = ["head.hidden=4", "train.epochs=1", "train.patience=null"]


def recipe_of(*overrides: str) -> Recipe:
    return load_recipe("baseline", [*SMALL, *overrides])


def split(number: int) -> FakeStore:
    """The same 200 clips, of which every split tests other people, five for each."""
    store = ordered_store(200, title=f"fake split {number}")
    people = np.arange(200) // 8  # 25 of them
    turn = (people + 5 * number) % 25
    store.splits = np.select([turn < 5, turn < 10], ["test", "val"], "train")
    store.subjects = np.array([f"vp{own}" for own in people])
    store.title, store.key = f"fake split {number}", f"{number}" * 64
    return store


class Trained(list):
    """Trains, and notes what."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __call__(self, store: FakeStore, folder: Path, seed: int, log: Log) -> None:
        self.append(folder.name)
        train(store, self.recipe, out=folder, seed=seed, log=log)


def sweep(out: Path, *, seeds: range = range(2), recipe: Recipe | None = None) -> list[str]:
    """Train on two splits; return the runs that were trained."""
    recipe = recipe or recipe_of()
    trainer = Trained(recipe)
    stores = {number: split(number) for number in (0, 1)}
    train_all(stores, recipe, seeds, out=out, trainer=trainer, log=lambda line: None)
    return list(trainer)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "all"
    names = [folder_of(number, seed) for number in (0, 1) for seed in (0, 1)]
    assert sweep(out) == names
    files = {"metrics.json", "report.md", "report.html"}
    assert {path.name for path in out.iterdir()} == {*names, *files}
    return out


def test_means_and_spreads_are_those_of_the_runs(out: Path) -> None:
    scores = np.array(
        [
            [read_metrics(out / folder_of(n, seed))["test"]["top1"] for seed in (0, 1)]
            for n in (0, 1)
        ]
    )
    summary = read_summary(out)
    found = summary["scores"]["test"]["top1"]
    assert found["mean"] == pytest.approx(scores.mean())
    assert found["std"] == pytest.approx(scores.mean(axis=0).std(ddof=1))
    assert found["std_over_splits"] == pytest.approx(scores.mean(axis=1).std(ddof=1))
    for number, own in enumerate(summary["splits"]):
        assert own["title"] == f"fake split {number}"
        assert own["test"]["top1"]["values"] == pytest.approx(scores[number].tolist())
        assert own["test"]["top1"]["std"] == pytest.approx(scores[number].std(ddof=1))


def test_pooled_intervals_are_of_all_clips_by_the_share_of_right_runs(out: Path) -> None:
    votes: dict[str, list[bool]] = {}
    labels, subjects = {}, {}
    for path in out.glob("split*"):
        for row in read_predictions(path):
            if row["part"] == "test":
                votes.setdefault(row["clip"], []).append(row["label"] == row["prediction"])
                labels[row["clip"]] = "ab".index(row["label"])
                subjects[row["clip"]] = row["subject"]
    clips = sorted(votes, key=lambda clip: (clip, labels[clip]))
    share = np.array([np.mean(votes[clip]) for clip in clips])
    expected = intervals(
        np.array([labels[clip] for clip in clips]),
        share,
        np.array([subjects[clip] for clip in clips]),
        classes=2,
    )
    pooled = read_summary(out)["pooled"]["test"]
    assert pooled["clips"] == 80
    assert pooled["subjects"] == 10
    assert pooled["scores"]["top1"] == pytest.approx(share.mean())
    assert expected is not None
    for name in ("top1", "mean_class_accuracy"):
        assert pooled[name] == expected[name]


def test_a_comma_in_the_folder_keeps_the_pooled_intervals(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "a,b")
    summarise(tmp_path / "a,b")
    assert read_summary(tmp_path / "a,b")["pooled"] == read_summary(out)["pooled"]


def test_a_mean_that_is_no_better_than_without_training_is_said(out: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    for seed in (0, 1):
        metrics = read_metrics(moved / folder_of(1, seed))
        metrics["baselines"]["nearest_class_mean"]["test"] |= {"top1": 1.0}
        write_json(moved / folder_of(1, seed) / "metrics.json", metrics)
    before = (out / "report.md").read_text("utf-8").splitlines()
    (line,) = set(summarise(moved).read_text("utf-8").splitlines()) - set(before)
    assert line.startswith("- fake split 1: the trained head does not beat")
    assert "100.0 % with the nearest class mean" in line


def test_runs_from_before_there_were_baselines(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "old")
    for path in (tmp_path / "old").glob("split*/metrics.json"):
        metrics = json.loads(path.read_text("utf-8"))
        write_json(path, {name: metrics[name] for name in metrics if name != "baselines"})
    assert "no better" not in summarise(tmp_path / "old").read_text("utf-8")


def test_the_page_and_the_tables_have_the_numbers_of_the_report(out: Path) -> None:
    page = (out / "report.html").read_text("utf-8")
    text, summary = text_of(page), read_summary(out)
    for line in (out / "report.md").read_text("utf-8").splitlines():
        if line.startswith("| ") and "---" not in line and "report.md" not in line:
            assert " ".join(line.replace("|", " ").split()) in text
    assert '<a href="split1-seed0/report.html">split1-seed0</a>' in page
    assert page.count('class="point"') == 2 * 4  # two scores of four runs
    runs = [read_metrics(out / folder_of(n, seed)) for n in (0, 1) for seed in (0, 1)]
    for row in summary["per_class"]["test"]:
        recalls = [
            scored["recall"]
            for run in runs
            for scored in run["test"]["per_class"]
            if scored["class"] == row["class"]
        ]
        assert row["recall"]["mean"] == pytest.approx(np.mean(recalls))
        assert row["recall"]["std"] == pytest.approx(np.std(recalls, ddof=1))
    mean = summary["scores"]["test"]["top1"]["mean"]
    rows = list(csv.DictReader(io.StringIO(runs_csv(summary))))
    (over_all,) = [
        row for row in rows
        if (row["split"], row["part"], row["class"], row["score"]) == ("", "test", "", "top1")
    ]  # fmt: skip
    assert float(over_all["mean"]) == mean
    assert f"mean & {100 * mean:.1f} $\\pm$ " in runs_latex(summary)


PROBE = """
(() => {
  const table = document.querySelector("#classes-on-test table.sortable");
  table.querySelectorAll("thead button")[1].click();
  const values = [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[1].textContent));
  return [document.querySelectorAll(".point").length, values.length,
    values.every((value, at) => !at || value <= values[at - 1])];
})()
"""


@needs_chromium
@pytest.mark.parametrize(("dark", "width"), [(False, 1300), (True, 500)])
def test_a_browser_shows_the_page(out: Path, tmp_path: Path, dark: bool, width: int) -> None:
    page = (out / "report.html").read_text("utf-8")
    assert browse(page, PROBE, tmp_path, width=width, dark=dark) == [2 * 4, 2, True]


def test_report_says_the_protocol(out: Path) -> None:
    text = (out / "report.md").read_text("utf-8")
    assert text.startswith("# baseline: 4 runs, 2 seeds on 2 splits\n")
    assert (
        "- fake split 1: train 120 clips of 15 subjects, val 40 clips of 5 subjects, test 40 clips "
        "of 5 subjects." in text
    )
    assert "each seed (0, 1)." in text
    assert "best val mean class accuracy; those weights were tested once" in text
    assert "The splits share no test clips." in text
    assert "| [split1-seed0](split1-seed0/report.md) |" in text
    assert is_summary(out)
    assert not is_summary(out / "split0-seed0")
    before = (out / "metrics.json").read_bytes()
    assert summarise(out).read_text("utf-8") == text
    assert (out / "metrics.json").read_bytes() == before


def test_report_says_what_scores_rest_on_and_leave_out(tmp_path: Path) -> None:
    recipe = recipe_of("data.standardise=subject")
    store = split(0)
    store.attributes["untrained"] = True
    store.classes = ("a", "b", "never")
    store.status[np.flatnonzero(store.splits == "train")[:2]] = 1
    store.status[np.flatnonzero(store.splits == "test")[:1]] = 1
    train_all(
        {0: store, 1: split(1)},
        recipe,
        [0],
        out=tmp_path / "s",
        trainer=Trained(recipe),
        log=lambda line: None,
    )
    summary = read_summary(tmp_path / "s")
    assert summary["standardise"] == "subject"
    first, second = summary["splits"]
    assert first["untrained"]
    assert not second["untrained"]
    assert first["failed_clips"] == {"train": 2, "val": 0, "test": 1}
    three = {"averaged": 2, "of": 3, "without_clips": ["never"]}
    assert first["classes"] == {"val": three, "test": three}
    assert second["classes"]["test"] == {"averaged": 2, "of": 2, "without_clips": []}
    text = (tmp_path / "s" / "report.md").read_text("utf-8")
    for line in (
        "Unlabelled val and test data: used. Features are standardised by mean and std of their "
        "own subject.",
        "The backbone is untrained: its features are those of random weights.",
        "fake split 0: averages cover the classes that have clips, 2 of 3 classes on val and 2 "
        "of 3 classes on test.",
        "fake split 0: 1 class without test clips: never.",
        "fake split 0: 1 class without training clips: never.",
        "fake split 0: clips that could not be read when the store was built, left out: 2 of "
        "train, 1 of test.",
    ):
        assert f"- {line}\n" in text
    assert "2 of 3 classes on val and 2 of 3 classes on test" in text
    assert "fake split 1: clips that could" not in text


def test_report_says_nothing_of_what_is_not(out: Path) -> None:
    text = (out / "report.md").read_text("utf-8")
    absent = (" without val", " without test", " without training clips")
    for words in ("Unlabelled", "untrained", "could not be read", *absent):
        assert words not in text


def test_what_is_there_is_not_trained_again(tmp_path: Path) -> None:
    assert sweep(tmp_path / "all", seeds=range(1)) == ["split0-seed0", "split1-seed0"]
    (tmp_path / "all" / "metrics.json").unlink()  # as if it had been killed before the end
    assert sweep(tmp_path / "all") == ["split0-seed1", "split1-seed1"]
    assert sweep(tmp_path / "all") == []
    assert len(read_summary(tmp_path / "all")["runs"]) == 4


def test_runs_of_another_configuration_are_refused_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    out = tmp_path / "all"
    sweep(out, seeds=range(1))
    with pytest.raises(InputError, match=r"split0-seed0: .*recipe\.train\.lr: 0\.001 -> 0\.5"):
        sweep(out, recipe=recipe_of("train.lr=0.5"))
    (out / "split0-seed0").rename(out / "split1-seed1")
    with pytest.raises(InputError, match=r"split1-seed1: .*seed: 0 -> 1; store: 000"):
        sweep(out)
    assert not (out / "split0-seed0").exists()
    (out / "split1-seed1" / "config.yaml").unlink()
    with pytest.raises(InputError, match="not a finished run"):
        sweep(out)


def test_a_folder_that_is_something_else_is_refused_before_anything_is_trained(
    out: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(out / "split0-seed0", run)
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.json").write_text('{"accuracy": 1}')
    (tmp_path / "file").write_text("")
    for folder, message in [
        (run, "is a single run"),
        (other, "is not a summary of several runs"),
        (tmp_path / "file", "is a file"),
    ]:
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(InputError, match=message):
            sweep(folder)
        after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert after == before
    for name in ("predictions.csv", "config.yaml"):
        (run / name).unlink()
    with pytest.raises(InputError, match="not a summary of several runs"):
        sweep(run)


def test_seeds_alone(tmp_path: Path) -> None:
    recipe = recipe_of()
    trainer = Trained(recipe)
    stores = {None: split(0)}
    train_all(
        stores, recipe, range(3, 5), out=tmp_path / "s", trainer=trainer, log=lambda line: None
    )
    assert list(trainer) == ["seed3", "seed4"]
    summary = read_summary(tmp_path / "s")
    assert summary["scores"]["test"]["top1"]["std_over_splits"] is None
    assert "2 runs, 2 seeds on 1 split" in (tmp_path / "s" / "report.md").read_text("utf-8")


def test_splits_that_share_test_clips_say_so(tmp_path: Path) -> None:
    recipe = recipe_of()
    twice = {0: split(0), 1: split(0)}
    twice[1].key, twice[1].title = "1" * 64, "fake split 1"
    train_all(
        twice,
        recipe,
        [0],
        out=tmp_path / "s",
        trainer=Trained(recipe),
        log=lambda line: None,
    )
    text = (tmp_path / "s" / "report.md").read_text("utf-8")
    assert "of 80 in total, 40 are distinct" in text


def test_a_single_run_is_no_folder_of_runs(tmp_path: Path) -> None:
    assert read_summary(tmp_path) == {}
    (tmp_path / "metrics.json").write_text(json.dumps({"runs": 3}))
    assert not is_summary(tmp_path)
