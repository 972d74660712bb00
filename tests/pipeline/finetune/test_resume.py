"""Finetunings that are killed, repeated, or in the way of each other."""

from pathlib import Path

import pytest

from featstore.errors import BusyError, InputError
from pipeline import finetune as finetune_module
from pipeline.finetune import Tuning, finetune
from pipeline.runs.folder import CHECKPOINT, unfinished_folder, unfinished_of
from tests.builds import silent
from tests.finetunings import QUICK, of
from tests.killing import killed_when

PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from pipeline.finetune import finetune
from tests.finetunings import QUICK, of
data = Path(sys.argv[1])
finetune(of(data, Path(sys.argv[2])), QUICK, out=Path(sys.argv[3]), log=partial(print, flush=True))
"""


def killed_after(line: str, data: Path, out: Path) -> None:
    """Finetune in a process that is killed when it says a line that begins so."""
    killed_when(line, PROGRAM, data, out.parent / "features", out)


def test_killed_twice_and_continued_to_the_same_bytes(
    data: Path, tuned: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed.safetensors"
    killed_after("squeezenet1_1: the last 3 of 9 blocks", data, out)
    killed_after("epoch   2", data, out)
    assert not out.exists()
    lines: list[str] = []
    options = of(data, tmp_path / "features")
    with pytest.raises(InputError, match=r"another configuration .*lr"):
        finetune(options, Tuning(lr=1e-4), out=out, log=silent)
    finetune(options, QUICK, out=out, log=lines.append)
    assert any("resuming an interrupted finetuning after epoch" in line for line in lines)
    assert out.read_bytes() == tuned.read_bytes()
    assert not unfinished_of(out).exists()


def test_a_finetuning_that_runs_is_left_alone(data: Path, tmp_path: Path) -> None:
    options = of(data, tmp_path / "features")
    with unfinished_folder(tmp_path / "busy.safetensors", {}), pytest.raises(BusyError):
        finetune(options, QUICK, out=tmp_path / "busy.safetensors", log=silent)


def test_the_same_command_again_does_nothing(data: Path, tuned: Path, monkeypatch) -> None:
    monkeypatch.setattr(finetune_module, "fit", None)
    lines: list[str] = []
    options = of(data, data.parent.parent / "features")
    assert finetune(options, QUICK, out=tuned, log=lines.append) == tuned
    assert lines == ["skipped: already finetuned"]
    with pytest.raises(InputError, match="exists with another configuration"):
        finetune(options, Tuning(seed=7), out=tuned, log=silent)


def test_what_a_finetuning_left_that_was_killed_at_its_end_is_removed(
    data: Path, tuned: Path
) -> None:
    options = of(data, data.parent.parent / "features")
    with unfinished_folder(tuned, {}) as left:  # as if one were just about to end
        (left / CHECKPOINT).touch()
        finetune(options, QUICK, out=tuned, log=silent)
        assert left.exists()
    (left / "frames-0.npy").touch()
    with pytest.raises(InputError, match="exists with another configuration"):
        finetune(options, Tuning(seed=7), out=tuned, log=silent)
    assert left.exists()
    finetune(options, QUICK, out=tuned, log=silent)
    assert not left.exists()
