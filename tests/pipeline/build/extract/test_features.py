"""Stores of grids and other kinds of features."""

from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore.errors import InputError
from pipeline.build.summary import dry_run_table, planned_shape
from tests.builds import build, options_of, plan_of, row, silent, write_dataset

ROWS = [
    row("train.mp4", 0, 12, "train"),
    row("train.mp4", 4, 16, "train", "b"),
    row("val.mkv", 3, 20, "val", "b"),
    row("test.avi", 0, 12, "test"),
    row("test.avi", 6, 18, "test", "b"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), ROWS)


def test_a_grid_is_built_trained_on_and_predicted_with(data: Path, tmp_path: Path) -> None:
    options = {"normalise": "0.4,0.2", "size": 64}
    plan = plan_of(options_of(data, tmp_path, features="grid:3", **options))
    pooled = plan_of(options_of(data, tmp_path, **options))
    assert plan.configuration == {**pooled.configuration, "features": "grid:3"}
    assert "4608" in dry_run_table(plan, *planned_shape(plan))
    store = build(plan.options)
    assert store.dim == 9 * 512
    assert store.attributes["places"] == 9
    mean = build(options_of(data, tmp_path, features="mean", **options))
    assert "places" not in mean.attributes
    places = store[0].reshape(-1, 9, 512)  # the last map has 3 x 3
    np.testing.assert_allclose(places.mean(axis=1), mean[0], rtol=1e-4, atol=1e-5)

    small = {"train.epochs": 1, "head.hidden": 8, "head.feedforward": 8}
    run = featstore.train(store, "attentive", out=tmp_path / "run", set=small, log=silent)
    out = tmp_path / "out"
    predictions = featstore.predict(run, data.parent / "test.avi", out=out, log=silent)
    assert len(predictions.segments()) > 0


def test_kinds_that_a_backbone_lacks_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--features is 'grid:1'"):
        options_of(data, tmp_path, features="grid:1")
    with pytest.raises(InputError, match="no class token"):
        build(options_of(data, tmp_path, features="cls"))
