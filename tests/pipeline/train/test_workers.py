"""Several runs at once, in processes."""

from functools import partial
from pathlib import Path

import pytest
import torch

import featstore
from featstore.errors import InputError
from pipeline.train.recipes.load import Recipe, load_recipe
from pipeline.train.recipes.portfolio import load_recipes
from pipeline.train.seeds import read_summary, train_all
from pipeline.train.train import train
from pipeline.train.workers import runs_at_once, train_runs
from pipeline.types import Log
from tests.fakes import ordered_store
from tests.sweeps import saved
from tests.training import quiet, recipe_of


@pytest.fixture
def on_disk(tmp_path: Path) -> featstore.Store:
    return featstore.open(saved(tmp_path / "store.zarr", ordered_store(60)))


def train_but(
    store: featstore.Store, folder: Path, seed: int, log: Log, *, recipe: Recipe, fault: Path
) -> None:
    """Train a run, but not that of seed 1 while a file is there."""
    if seed == 1 and fault.exists():
        raise InputError("the train loss became nan")
    assert torch.get_num_threads() == 1
    train(store, recipe, out=folder, seed=seed, device="cpu", log=log)


def test_runs_at_once_are_those_of_one_after_another(
    tmp_path: Path, on_disk: featstore.Store
) -> None:
    recipe, fault = recipe_of(name="tcn"), tmp_path / "fault"
    trainer = partial(train_but, recipe=recipe, fault=fault)
    series = partial(train_all, {None: on_disk}, recipe, range(3), trainer=trainer)
    series(out=tmp_path / "one", workers=1, log=quiet)
    fault.touch()
    with pytest.raises(InputError, match=r"^seed1: .* became nan"):
        series(out=tmp_path / "two", workers=2, log=quiet)
    fault.unlink()
    lines: list[str] = []
    series(out=tmp_path / "two", workers=2, log=lines.append)
    for name in ("weights.safetensors", "predictions.csv", "config.yaml"):
        for folder in ("seed0", "seed1", "seed2"):
            paths = (tmp_path / one / folder / name for one in ("one", "two"))
            assert len({path.read_bytes() for path in paths}) == 1
    epochs = [line for line in lines if "epoch   2 of 2" in line]
    assert "seed1" in {line.split()[0] for line in epochs}
    assert len(read_summary(tmp_path / "two")["runs"]) == 3


def test_an_interrupt_ends_all_runs(tmp_path: Path, on_disk: featstore.Store) -> None:
    recipe = recipe_of("train.epochs=100000", "train.patience=null")
    trainer = partial(train_but, recipe=recipe, fault=tmp_path)

    def interrupted(line: str) -> None:
        if "epoch" in line:
            raise KeyboardInterrupt

    runs = [(on_disk, tmp_path / f"seed{seed}", seed) for seed in (0, 2)]
    with pytest.raises(KeyboardInterrupt):
        train_runs(runs, trainer, 2, interrupted)
    assert not any(folder.exists() for _, folder, _ in runs)


@pytest.mark.parametrize(
    ("name", "epochs", "threads", "expected"),
    [("tcn", 300, 2, 2), ("tcn", 300, 8, 3), ("tcn", 300, 1, 1), ("tcn", 3, 2, 1)],
)
def test_as_many_runs_at_once_as_threads_unless_they_are_short(
    name: str, epochs: int, threads: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    recipe = load_recipe(name, [f"train.epochs={epochs}", "train.batch_size=16"])
    runs = [(ordered_store(60), Path(str(seed)), seed) for seed in range(3)]
    assert runs_at_once(runs, recipe, "cpu") == expected


def test_no_runs_are_left() -> None:
    assert runs_at_once([], load_recipes(), "cpu") == 1
