import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import pipeline.cli
from pipeline.cli import main
from pipeline.cli.terminal import say
from tests.stores import contents, write_store

ODD = "\x1b]0;owned\x07\x1b[31mred"


def test_say_shows_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"store {ODD}\nclip")
    assert capsys.readouterr().out == "store \\x1b]0;owned\\x07\\x1b[31mred\nclip\n"


def test_no_command_prints_past_it() -> None:
    for path in Path(pipeline.cli.__file__).parent.glob("*.py"):
        text = path.read_text("utf-8")
        prints = "click.echo" in text or "click.secho" in text or "\nprint(" in text
        assert prints == (path.name == "terminal.py"), path


def test_a_store_with_odd_names_is_shown_safely(tmp_path: Path) -> None:
    """Stores of before may hold names that sources refuse today."""
    imported = {
        "statistics": {"origin": "imported", "mean": [], "std": []},
        "features": {"imported": "arrays"},
    }
    made = contents(
        title=f"title {ODD}",
        untrained=False,
        steps=16,
        repeated_last_frame=0,
        numerics={},
        **imported,
    )
    made.columns["label_name"] = np.array(["two\nrows", "\x1b[2J", "x"])
    store = write_store(tmp_path / "odd.zarr", made)
    done = CliRunner().invoke(main, ["info", str(store)])
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert "\ntwo\\nrows " in done.output


def test_errors_are_shown_safely(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(tmp_path / ODD)])
    assert done.exit_code == 2
    assert "\\x1b[31mred" in done.output
    assert "\x1b" not in done.output


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "from pipeline.cli import main; main(['config', 'build'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
