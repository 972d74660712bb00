"""Stores for a trained run: its features and classes, clips of test only or without labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featstore
from featstore.errors import InputError
from featstore.manage.diff import between
from pipeline.build.plan.like import read_like
from pipeline.train.data.checks import checked_parts
from pipeline.train.evaluate import rescore
from pipeline.train.recipes.load import load_recipe
from tests.builds import row, silent, write_dataset
from tests.videos import textured, write_table, write_video

FEATURES = {"backbone": "squeezenet1_1", "size": 32, "pixels": "luma", "fps": 8}
COMMON = {"workers": 1, "device": "cpu", "log": silent}
NEW = "new.mp4"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[featstore.Store, Path]:
    """A store with measured mean and std, of weights in a file, and a run on it."""
    folder = tmp_path_factory.mktemp("like")
    weights = _weights(folder / "weights.safetensors")
    store = featstore.build(
        "table",
        data=write_dataset(folder / "data"),
        store=folder / "features",
        weights=weights,
        **FEATURES,
        **COMMON,
    )
    options = {"train.epochs": 1, "data.standardise": "train"}
    run = featstore.train(store, "linear", out=folder / "run", set=options, log=silent)
    return store, run.path


def _weights(path: Path) -> Path:
    from safetensors.torch import save_file

    from models.backbones import build_backbone

    save_file(build_backbone("squeezenet1_1", seed=3).network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new video."""
    folder = tmp_path_factory.mktemp("new")
    write_video(folder / NEW, textured(24, seed=9))
    return folder


def build_like(like: Path | str, table: Path, store: Path, **more: Any) -> featstore.Store:
    return featstore.build("table", data=table, like=like, store=store, **COMMON, **more)


def test_the_same_clips_like_a_run_have_the_same_features_and_scores(trained, tmp_path) -> None:
    store, run = trained
    data = Path(store.path).parents[1] / "data/clips.csv"
    again = build_like(run, data, tmp_path)
    assert again.key != store.key  # its mean and std are fixed, not measured
    for clip in range(len(store)):
        np.testing.assert_array_equal(again[clip], store[clip])
    assert between(store, again).same_clips == len(store)
    (line,) = between(store, again).fields
    assert line.startswith("origin of the same mean and std: measured -> fixed")
    before, after = rescore(run, store, "test"), rescore(run, again, "test")
    np.testing.assert_allclose(before.log_probabilities, after.log_probabilities, atol=1e-6)


@pytest.mark.parametrize("kind", ["run", "store"])
def test_test_clips_only(trained, new, tmp_path, kind: str) -> None:
    store, run = trained
    rows = [row(NEW, 0, 12, "test", "b"), row(NEW, 6, 20, "test", "b")]
    like = run if kind == "run" else store.path
    built = build_like(like, write_table(new / "test.csv", rows), tmp_path)
    assert built.classes == store.classes  # though only b has clips
    assert rescore(run, built, "test").labels.tolist() == [1, 1]


def test_clips_without_labels(trained, new, tmp_path) -> None:
    _, run = trained
    table = new / "bare.csv"
    table.write_text(f"video,start,end\n{NEW},0,12\n{NEW},6,20\n")
    built = build_like(run, table, tmp_path)
    assert built.labels.tolist() == [-1, -1]
    assert built.to_pandas()["label"].tolist() == ["", ""]
    assert built.splits.tolist() == ["test", "test"]
    assert featstore.open(built.path).clip_keys() == built.clip_keys()
    with pytest.raises(InputError, match=r"2 test clips .* have no labels"):
        rescore(run, built, "test")
    with pytest.raises(InputError, match="no usable train clips"):
        checked_parts(built, load_recipe("linear"))
    found = featstore.predict(run, built.path, out=tmp_path / "predicted", log=silent).clips()
    assert [one["start_frame"] for one in found] == [0, 6]
    for one in found:
        assert one["label"] == ""
        assert one["probability"] == max(one["p:a"], one["p:b"]) == one[f"p:{one['prediction']}"]


def test_some_labels_are_scored_and_training_refuses_the_rest(trained, new, tmp_path) -> None:
    _, run = trained
    rows = [row(NEW, 0, 12, "test", "b"), row(NEW, 6, 20, "test", "")]
    built = build_like(run, write_table(new / "some.csv", rows), tmp_path)
    assert rescore(run, built, "test").labels.tolist() == [1]
    data = Path(read_like(run).places[0]).parent / "data"
    mixed = [row(str(data / "train.mp4"), 0, 10, "train", ""), row("val.mkv", 3, 20, "val", "b")]
    table = write_table(data / "mixed.csv", [*mixed, row("test.avi", 0, 24, "test")])
    built = build_like(run, table, tmp_path)
    with pytest.raises(InputError, match="1 clips without a label"):
        checked_parts(built, load_recipe("linear"))


def test_a_label_that_the_run_does_not_know_is_refused(trained, new, tmp_path) -> None:
    _, run = trained
    table = write_table(new / "odd.csv", [row(NEW, 0, 12, "test", "c")])
    with pytest.raises(InputError, match='label "c" is not in the classes of'):
        build_like(run, table, tmp_path)


@pytest.mark.parametrize("option", [{"size": 48}, {"normalise": "0.5,0.2"}, {"fps": "all"}])
def test_what_the_run_decides_is_not_decided_again(trained, new, tmp_path, option) -> None:
    _, run = trained
    table = write_table(new / "twice.csv", [row(NEW, 0, 12, "test")])
    with pytest.raises(InputError, match=f"decides --{next(iter(option))};"):
        build_like(run, table, tmp_path, **option)


def test_weights_with_another_content_are_refused(trained, new, tmp_path) -> None:
    _, run = trained
    table = write_table(new / "weights.csv", [row(NEW, 0, 12, "test")])
    with pytest.raises(InputError, match="was made with sha256:"):
        build_like(run, table, tmp_path, weights="random")


def test_weights_that_moved_are_named_by_hand(trained, new, tmp_path) -> None:
    store, run = trained
    file = Path(store.path).parents[1] / "weights.safetensors"
    table = write_table(new / "moved.csv", [row(NEW, 0, 12, "test")])
    moved = file.rename(tmp_path / "moved.safetensors")
    try:
        with pytest.raises(InputError, match="--weights"):
            build_like(run, table, tmp_path)
        assert len(build_like(run, table, tmp_path, weights=moved)) == 1
    finally:
        moved.rename(file)


def test_imported_features_have_no_backbone(trained) -> None:
    from tests.stores import write_store

    store, _ = trained
    path = write_store(Path(store.path).parents[1] / "imported.zarr")
    with pytest.raises(InputError, match="imported"):
        read_like(path)


def test_a_store_without_labels_is_shown_verified_and_exported(trained, new, tmp_path) -> None:
    from click.testing import CliRunner

    from pipeline.cli import main

    _, run = trained
    table = new / "shown.csv"
    table.write_text(f"video,start,end\n{NEW},0,12\n")
    path = str(build_like(run, table, tmp_path / "features").path)
    for command in (["info", path], ["verify", path], ["export", path, str(tmp_path / "a.h5")]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    assert featstore.open(tmp_path / "a.h5").labels.tolist() == [-1]
    done = CliRunner().invoke(main, ["export", path, str(tmp_path / "arrays"), "--format", "npy"])
    assert done.exit_code == 0, done.output
    rows = (tmp_path / "arrays/clips.csv").read_text().splitlines()
    assert len(rows) == 2
