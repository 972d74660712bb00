"""The same build again reads neither annotations nor videos; a changed one does."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.build import repeat
from pipeline.cli import main
from tests.builds import write_dataset

FLAGS = ["--source", "table", "--data", "data/clips.csv", "--backbone", "squeezenet1_1"]
FLAGS += ["--weights", "random", "--size", "32", "--pixels", "luma", "--normalise", "0.4,0.2"]


def built(*more: str) -> list[str]:
    ran = CliRunner().invoke(main, ["build", *FLAGS, *more], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.output.splitlines()


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Build in a folder of its own; return what was planned since."""
    from pipeline.build.plan import build_plan

    calls: list[str] = []
    original = build_plan.plan_build
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "data")
    built()

    def noted(*args: Any, **more: Any) -> Any:
        calls.append("")
        return original(*args, **more)

    monkeypatch.setattr(build_plan, "plan_build", noted)
    return calls


def test_nothing_is_read_again(planned: list[str]) -> None:
    first, second = built(), built()
    assert first == second
    assert "already built: nothing to do" in second
    assert not planned


def table_changed() -> None:
    path = Path("data/clips.csv")
    path.write_text(path.read_text("utf-8").replace(",b,", ",c,"), "utf-8")


def video_touched() -> None:
    os.utime("data/train.mp4")


def store_removed() -> None:
    for path in Path("features").glob("*.zarr"):
        shutil.rmtree(path)


def cache_removed() -> None:
    Path("features/.cache.sqlite").unlink()


@pytest.mark.parametrize("change", [table_changed, video_touched, store_removed, cache_removed])
def test_what_has_changed_is_read(planned: list[str], change: Callable[[], None]) -> None:
    change()
    built()
    assert len(planned) == 1


def test_other_flags_are_read(planned: list[str]) -> None:
    built("--fit", "crop")
    assert len(planned) == 1


def test_another_version_of_the_program_reads(planned: list[str], monkeypatch) -> None:
    monkeypatch.setattr(repeat, "_code", lambda: [["changed.py", 1, 2]])
    built()
    assert len(planned) == 1


def test_a_video_that_is_gone_is_named(planned: list[str]) -> None:
    Path("data/test.avi").unlink()
    ran = CliRunner().invoke(main, ["build", *FLAGS])
    assert ran.exit_code == 2
    assert "test.avi" in ran.output
