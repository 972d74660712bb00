"""Run `featstore build` in this process."""

from pathlib import Path

from click.testing import CliRunner, Result

from pipeline.cli import main

QUICK = ("--backbone", "squeezenet1_1", "--weights", "random", "--size", "32", "--workers", "1")
QUICK = (*QUICK, "--pixels", "luma", "--device", "cpu", "--batch-size", "8")


def arguments(*more: str, data: str = "data/clips.csv") -> list[str]:
    return ["build", "--source", "table", "--data", data, *QUICK, *more]


def run(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def build(*more: str) -> Result:
    return run(*arguments(*more))


def refused(result: Result, *words: str) -> None:
    """One sentence, exit code 2, and no store."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert last.endswith((".", "?"))
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in last
    # A lock's file may stay, for only the lock itself counts.
    assert not [
        path for path in Path().glob("features/*") if path.is_dir() and ".zarr" in path.name
    ]


def in_one_line(result: Result, *words: str) -> None:
    refused(result, *words)
    assert len(result.stderr.strip().splitlines()) == 1
