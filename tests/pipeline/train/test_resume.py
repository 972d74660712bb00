"""A training that is killed goes on from its last epoch, to the bytes of an undisturbed one."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from featstore.errors import BusyError, InputError
from pipeline.runs.files import read_metrics
from pipeline.runs.folder import CHECKPOINT, new_run, unfinished_of
from pipeline.train import results
from pipeline.train.checkpoint import read_checkpoint, write_checkpoint
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.fakes import ordered_store
from tests.killing import killed_when

TIMES = {"seconds", "data_share"}
RECIPES = {
    "plateau": ["train.monitor=loss", "data.steps=null"],
    "cosine": ["train.schedule=cosine", "data.steps=4", "train.monitor=macro_f1"],
    "changed": ["augment.crop=0.5", "augment.drop=0.2", "head.pool=mean", "train.imbalance=focal"],
}
SMALL = ["head.hidden=8", "train.epochs=30", "train.patience=null", "train.lr=5e-3"]
PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.fakes import ordered_store
recipe = load_recipe("bilstm", sys.argv[2:])
train(ordered_store(), recipe, out=Path(sys.argv[1]), seed=5, log=partial(print, flush=True))
"""


def run_here(out: Path, overrides: list[str], *, seed: int = 5) -> list[str]:
    lines: list[str] = []
    recipe = load_recipe("bilstm", overrides)
    train(ordered_store(), recipe, out=out, seed=seed, log=lines.append)
    return lines


def history_of(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", RECIPES)
def test_cut_off_twice_and_continued(tmp_path: Path, name: str) -> None:
    overrides = [*SMALL, *RECIPES[name]]
    run_here(tmp_path / "whole", overrides)
    out = tmp_path / "killed"
    cut_off(out, 2, overrides)
    assert not out.exists()
    if name == "changed":
        killed_when("epoch  12", PROGRAM, out, *overrides)
    else:
        cut_off(out, 9, overrides)
    lines = run_here(out, overrides)
    after = next(line for line in lines if line.startswith("resuming an interrupted training"))
    assert 11 <= int(after.split()[-1]) < 30
    for file in ("weights.safetensors", "predictions.csv", "config.yaml"):
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    ours, theirs = read_metrics(out), read_metrics(tmp_path / "whole")
    assert {k: ours[k] for k in ours.keys() - TIMES} == {k: theirs[k] for k in ours.keys() - TIMES}
    assert 1 <= ours["best_epoch"] <= 30
    assert history_of(out) == history_of(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


class CutOffError(Exception):
    """Stands for whatever ends a training early."""


def cut_off(out: Path, after: int, overrides: list[str]) -> None:
    seen = 0

    def log(line: str) -> None:
        nonlocal seen
        seen += line.startswith("epoch")
        if seen > after:
            raise CutOffError

    with pytest.raises(CutOffError):
        train(ordered_store(), load_recipe("bilstm", overrides), out=out, seed=5, log=log)


def test_another_configuration_in_the_way_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "one"
    cut_off(out, 2, SMALL)
    before = (unfinished_of(out) / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match=r"recipe\.train\.lr: 0\.005 -> 0\.1.*delete"):
        run_here(out, [*SMALL, "train.lr=0.1"])
    with pytest.raises(InputError, match=r"\(seed: 5 -> 6\)"):
        run_here(out, SMALL, seed=6)
    assert (unfinished_of(out) / CHECKPOINT).read_bytes() == before
    assert "resuming an interrupted training after epoch 2" in run_here(out, SMALL)


def test_cut_off_after_the_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*SMALL, "train.epochs=3"]
    run_here(tmp_path / "whole", overrides)

    def full(*given: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(results, "report", full)
        with pytest.raises(OSError, match="No space"):
            run_here(tmp_path / "one", overrides)
    assert not (tmp_path / "one").exists()
    run_here(tmp_path / "one", overrides)
    weights = [tmp_path / name / "weights.safetensors" for name in ("whole", "one")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_one_training_at_a_time(tmp_path: Path) -> None:
    with (
        new_run(tmp_path / "one", {}),
        pytest.raises(BusyError, match="another process"),
        new_run(tmp_path / "one", {}),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_checkpoint_keeps_numbers_bit_for_bit(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2).T, "step": torch.tensor(7.0), "b": torch.arange(3)}
    values = {"big": 2**127 + 1, "third": 1 / 3, "text": "é", "none": None}
    write_checkpoint(tmp_path / "c.safetensors", tensors, values)
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    got, said = read_checkpoint(tmp_path / "c.safetensors")
    assert said == values
    assert got.keys() == tensors.keys()
    assert all(torch.equal(got[name], tensors[name]) for name in tensors)


def test_torn_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    cut_off(tmp_path / "one", 2, SMALL)
    checkpoint = unfinished_of(tmp_path / "one") / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"cannot be read .* delete the folder"):
        run_here(tmp_path / "one", SMALL)
