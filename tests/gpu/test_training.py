"""Batches, standardisation and training on a GPU, against the CPU's."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.finetune.options import Tuning
from pipeline.train.data.feed import Feed
from pipeline.train.data.standardise import standardiser
from pipeline.train.learner import Learner
from pipeline.train.recipes.load import load_recipe, recipe_names
from pipeline.train.train import train
from tests.drawing import figures
from tests.fakes import FakeStore, ordered_store
from tests.training import head_of, quiet, recipe_of, small_tuner
from tests.waits import waits_of_steps

CPU = torch.device("cpu")
PLAIN = ["head.dropout=0", "augment.noise=0", "augment.mixup=0", "train.batch_size=16"]
LEARNT = [name for name in recipe_names() if not name.startswith("nearest")]


def batches_of(
    store: FakeStore, device: torch.device, how: Any, steps: int | None, held: bool
) -> list[tuple[torch.Tensor, ...]]:
    """Batches of the training clips; zeros at padded steps, where anything may be."""
    clips = store.split("train")
    standardise = standardiser(store, how, clips, device=device)
    feed = Feed(store, device, steps=steps, standardise=standardise, held=clips if held else None)
    found = list(feed.batches(clips, 16, rng=np.random.default_rng(0)))
    assert {batch.features.device for batch in found} == {device}
    return [
        (batch.features.cpu().masked_fill(~batch.mask[..., None], 0), batch.mask, batch.labels)
        for batch in found
    ]


def losses_of(run: Path) -> list[float]:
    with (run / "history.csv").open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("how", ["none", "train", "clip", "recording"])
def test_batches(device: torch.device, how: Any, steps: int | None, held: bool) -> None:
    store = ordered_store(90)
    found = batches_of(store, device, how, steps, held)
    expected = batches_of(store, CPU, how, steps, not held)
    for batch, other in zip(found, expected, strict=True):
        for one, same in zip(batch, other, strict=True):
            torch.testing.assert_close(one.cpu(), same, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["bilstm", "tcn", "transformer"])
def test_losses(device: torch.device, name: str) -> None:
    store, losses = ordered_store(90), []
    recipe = recipe_of(*PLAIN, "head.hidden=16", name=name)
    for where in (CPU, device):
        head = head_of(store, recipe).to(where)
        learner = Learner(head, store, recipe, store.split("train"), seed=0)
        losses.append([learner.epoch()[0] for _ in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    assert np.ptp(losses[0]) > 1e-3


@pytest.mark.parametrize("name", LEARNT)
def test_no_step_waits(gpu: torch.device, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(name, ["train.batch_size=8"])
    assert not waits_of_steps(ordered_store(60), recipe, gpu, monkeypatch)


@pytest.mark.parametrize("held", [True, False])
def test_no_step_of_clips_of_any_length_waits(
    gpu: torch.device, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr(Feed, "_fits", lambda self: False)
    changed = ["augment.crop=0.5", "augment.drop=0.1", "augment.noise=0.1", "augment.mixup=0.2"]
    recipe = load_recipe("bilstm", ["train.batch_size=8", "data.steps=null", *changed])
    assert not waits_of_steps(ordered_store(60), recipe, gpu, monkeypatch)


def test_an_interrupted_training_resumes(tmp_path: Path, device: torch.device) -> None:
    recipe, store = recipe_of("train.epochs=4", name="tcn"), ordered_store(60)

    def interrupted(line: str) -> None:
        if line.startswith("epoch   2"):
            raise KeyboardInterrupt

    with figures(drawn=False):
        train(store, recipe, out=tmp_path / "whole", device=str(device), log=quiet)
        with pytest.raises(KeyboardInterrupt):
            train(store, recipe, out=tmp_path / "parts", device=str(device), log=interrupted)
        lines: list[str] = []
        train(store, recipe, out=tmp_path / "parts", device=str(device), log=lines.append)
    assert any("resuming an interrupted training after epoch" in line for line in lines)
    whole, parts = (losses_of(tmp_path / name) for name in ("whole", "parts"))
    assert len(whole) == 4
    # Backward convolutions of a GPU add in any order.
    np.testing.assert_allclose(parts, whole, rtol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_finetuning(device: torch.device, precision: Any) -> None:
    if device == CPU and precision != "float32":
        pytest.skip("the CPU has its own test of precisions")
    tuning = Tuning(frames=8, batch_size=16, lr=1e-3)
    expected, found = small_tuner(tuning), small_tuner(tuning, device, precision)
    tolerance = 1e-3 if precision == "float32" else 5e-2
    assert found.epoch(0) == pytest.approx(expected.epoch(0), rel=tolerance)
    assert found.scores()[1] == pytest.approx(expected.scores()[1], rel=tolerance)
