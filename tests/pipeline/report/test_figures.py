import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.metrics.classification import metrics_of, metrics_of_predictions
from pipeline.metrics.predictions import Predictions
from pipeline.report import figures
from pipeline.report.run import FIGURES
from pipeline.train.recipes.load import load_recipe
from tests.fakes import FakeStore, ordered_store
from tests.folders import ROOT

CLASSES = ("looking_or_moving_around (e.g. searching)", "costs $_$")
HISTORY = [
    {"epoch": i, "train_loss": 2 / i, "val_loss": 2 / i, "train_target_mass": 0.2}
    | {"val_top1": 0.1 * i, "val_mean_class_accuracy": score}
    for i, score in ((1, 0.2), (2, 0.5), (3, 0.4))
]


def predictions(store: FakeStore, part: str, *, attends: bool) -> Predictions:
    clips = store.split(part)
    rng = np.random.default_rng(0)
    attention = [rng.dirichlet(np.ones(n)).astype(np.float32) for n in store.row_size[clips]]
    return Predictions(
        clips=clips,
        labels=store.labels[clips],
        log_probabilities=np.log(rng.dirichlet(np.ones(2), len(clips))).reshape(-1, 2),
        attention=attention if attends else None,
    )


@pytest.mark.parametrize(("attends", "kind"), [(False, "svg"), (True, "png")])
def test_every_figure_is_drawn_even_for_awkward_names(
    tmp_path: Path, attends: bool, kind: str
) -> None:
    store = ordered_store(40, classes=CLASSES)
    store.splits[store.splits == "test"] = "val"
    parts = {part: predictions(store, part, attends=attends) for part in ("val", "test")}
    monitor = load_recipe("bilstm").train.monitor
    folder = tmp_path / "f"
    paths = figures.draw_figures(folder, CLASSES, monitor, HISTORY, parts, 1.5, store, kind)
    assert sorted(paths) == sorted(folder.glob(f"*.{kind}"))
    names = {path.stem for path in paths}
    assert names == set(FIGURES) - (set() if attends else {"attention"})  # each has a caption
    for path in paths:
        if kind == "svg":
            assert "<svg" in path.read_text("utf-8")
            continue
        with Image.open(path) as image:
            assert min(image.size) > 200
            assert image.convert("L").getextrema()[0] < 100  # something is drawn


def test_curves_mark_the_best_epoch() -> None:
    labels = [text.get_text() for text in _legends(figures.curves(HISTORY, "mean_class_accuracy"))]
    assert labels.count("best epoch, 2") == 2
    assert "train target mass" in labels
    labels = [text.get_text() for text in _legends(figures.curves(HISTORY, "loss"))]
    assert "best epoch, 3" in labels


def test_confusion_shows_shares_as_colour_and_counts_as_text() -> None:
    metrics = metrics_of(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    axes = figures.confusion(metrics, ("a", "b", "c"), "val").axes[0]
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares[:2], [[0.75, 0.25, 0], [0, 1, 0]])
    assert np.isnan(shares[2].astype(float)).all()  # grey
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "3"]


def test_per_class_is_sorted_by_clips() -> None:
    metrics = metrics_of(np.array([[1, 0, 0], [0, 5, 0], [0, 0, 0]]))
    axes = figures.per_class(metrics, ("few", "many", "absent"), "val").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["many", "few", "absent"]
    assert [text.get_text() for text in axes.texts] == ["5", "1", "none", "clips"]


def test_reliability_shows_accuracy_and_confidence_before_and_after() -> None:
    """Clips that are right in half of the cases and sure of it to 90 %."""
    logs = np.log(np.tile([[0.9, 0.1]], (40, 1)))
    labels = np.tile([0, 1], 20)
    own = Predictions(clips=np.arange(40), labels=labels, log_probabilities=logs, attention=None)
    figure = figures.reliability_diagram(own, "test", 20.0)
    before, after, below, _ = figure.axes
    assert before.get_title() == "as trained: error 40.0 %"
    assert after.get_title() == "temperature 20.00, of val: error 2.7 %"
    bars = {round(bar.get_x(), 3): bar.get_height() for bar in before.patches if bar.get_height()}
    assert list(bars.values()) == [0.5]
    assert next(iter(bars)) == pytest.approx(13 / 15 + 0.04 / 15, abs=1e-3)
    assert sum(bar.get_height() for bar in below.patches) == 40


def test_of_many_classes_the_most_frequent_are_shown() -> None:
    classes = 3000
    labels = np.concatenate([np.arange(classes), np.repeat([7, 2999], [5, 9])])
    metrics = metrics_of_predictions(labels, np.where(labels == 7, 2999, labels), classes)
    names = tuple(f"class {i}" for i in range(classes))
    bars = figures.per_class(metrics, names, "val").axes[0]
    shown = [label.get_text() for label in bars.get_yticklabels()]
    assert shown[:3] == ["class 2999", "class 7", "class 0"]
    assert len(shown) == figures.MOST_NUMBERED
    assert "40 of 3,000 classes" in bars.get_title()
    matrix = figures.confusion(metrics, names, "val").axes[0]
    assert [label.get_text() for label in matrix.get_xticklabels()][-1] == "class 2999"
    shares = np.asarray(matrix.images[0].get_array())
    assert shares.shape == (40, 40)
    assert shares[7, -1] == 1  # all six clips of class 7


def test_no_global_plotting_state() -> None:
    code = (
        "import sys, numpy, pipeline.report.figures as f;"
        "from pipeline.metrics.classification import metrics_of;"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules;"
        "f.confusion(metrics_of(numpy.eye(2, dtype=int)), ('a', 'b'), 'val');"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def _legends(figure: object) -> list:
    return [t for axes in figure.axes for t in axes.get_legend().get_texts()]  # type: ignore[attr-defined]
