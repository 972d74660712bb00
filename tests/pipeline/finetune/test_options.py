"""Values that are refused, the largest that are computed with, and the command line."""

import math
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from featstore.errors import InputError
from pipeline.build.plan.leakage import read_training
from pipeline.build.plan.request import options_of_split
from pipeline.cli import main
from pipeline.finetune import Tuning, finetune
from pipeline.finetune.options import MOST_LR, MOST_SEED
from tests.builds import silent
from tests.featstore.test_docs import run as run_page
from tests.finetunings import NAME, of
from tests.folders import DOCS

NUMBERS = ("lr", "layer_decay", "warmup", "weight_decay", "crop", "light")


@pytest.mark.parametrize(
    ("more", "tuning", "name", "words"),
    [
        ({"backbone": "r3d_18"}, {}, "w.safetensors", "takes windows of frames"),
        ({"weights": "random:1"}, {}, "w.safetensors", "pass pretrained weights"),
        ({}, {}, "w.pth", "ends in .safetensors"),
        ({}, {"blocks": 10}, "w.safetensors", "--blocks is 10, but squeezenet1_1 .* 9 blocks"),
        ({"weights": "no.pth"}, {}, "w.safetensors", "no such file"),
    ],
)
def test_what_cannot_be_finetuned(data: Path, tmp_path: Path, more, tuning, name, words) -> None:
    with pytest.raises(InputError, match=words):
        finetune(of(data, tmp_path, **more), Tuning(**tuning), out=tmp_path / name, log=silent)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("blocks", 0), ("epochs", 0), ("patience", 0), ("frames", 0), ("batch_size", -1)),
        *(("lr", 0), ("layer_decay", 1.1), ("warmup", -1), ("crop", 0), ("light", 1), ("seed", -1)),
        *((name, value) for name in NUMBERS for value in (math.inf, math.nan)),
        *(("lr", 1e39), ("seed", 2**63)),
    ],
)
def test_values_out_of_range(field: str, value: float) -> None:
    flag = field.replace("_", "-")
    with pytest.raises(InputError, match=f"--{flag} is {re.escape(str(value))}"):
        Tuning(**{field: value})


def test_the_largest_values_are_computed_with(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    most = Tuning(lr=MOST_LR, warmup=0, weight_decay=1e308)
    with pytest.raises(InputError, match=r"loss.*--lr"):
        finetune(of(data, tmp_path), most, out=out, log=silent)
    most = Tuning(epochs=2, warmup=1e308, seed=MOST_SEED)
    finetune(of(data, tmp_path), most, out=out, log=silent)


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--lr", "inf"), ("--weight-decay", "inf"), ("--warmup", "inf"), ("--seed", str(2**64))],
)
def test_values_out_of_range_on_the_command_line(flag: str, value: str) -> None:
    refused = CliRunner().invoke(main, ["finetune", "--out", "w.safetensors", flag, value])
    assert refused.exit_code == 2
    assert flag in refused.stderr
    assert value in refused.stderr


def test_on_the_command_line(data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--source", "table", "--data", str(data), "--backbone", NAME, "--pixels", "luma"]
    flags += ["--weights", str(data.parent / "weights.safetensors"), "--size", "32"]
    small = ["--blocks", "1", "--epochs", "1", "--frames", "1", "--device", "cpu"]
    done = CliRunner().invoke(main, ["finetune", *flags, *small, "--out", "w.safetensors"])
    assert done.exit_code == 0, done.output
    assert "squeezenet1_1: the last 1 of 9 blocks are trained" in done.stdout
    assert done.stdout.splitlines()[-1] == "weights w.safetensors"
    record = read_training(Path("w.safetensors"))
    assert record is not None
    assert record["tuning"] == {
        own: getattr(Tuning(blocks=1, epochs=1, frames=1), own) for own in record["tuning"]
    }  # so the flags have the defaults of the fields
    assert not [path for path in Path().iterdir() if path.name.endswith(".unfinished")]


def test_every_split_has_its_own_weights() -> None:
    given = {"folds": None, "split": None, "weights": "tuned-{split}.safetensors"}
    assert options_of_split(given, 2) == given | {"split": 2, "weights": "tuned-2.safetensors"}


def test_examples_of_the_documentation(data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "data").symlink_to(data.parent)
    monkeypatch.chdir(tmp_path)
    results = run_page(DOCS / "finetune.md")
    assert results.failed == 0, capsys.readouterr().out
    assert results.attempted > 5
