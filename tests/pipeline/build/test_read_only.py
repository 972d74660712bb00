"""Builds in a folder that may only be read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builds import build, options_of, write_dataset
from tests.folders import ROOT

CALL = "from pipeline.cli import main; main()"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data")


@pytest.fixture
def reading_only() -> list[str]:
    """A command before a command, which then may write only where its user may."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere")
    return ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]


@pytest.mark.parametrize("cached", [True, False])
def test_a_store_in_a_folder_that_may_only_be_read_is_found(
    data: Path, tmp_path: Path, reading_only: list[str], cached: bool
) -> None:
    root = tmp_path / "stores"
    store = build(options_of(data, root))
    if not cached:
        (root / ".cache.sqlite").unlink()
    before = sorted(root.rglob("*"))
    flags = ["--source", "table", "--data", str(data), "--backbone", "squeezenet1_1"]
    flags += ["--weights", "random", "--pixels", "luma", "--stores", str(root)]
    try:
        for path in (root, *root.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
        command = [*reading_only, sys.executable, "-c", CALL, "build", *flags]
        done, other = (
            subprocess.run([*command, "--size", size], capture_output=True, text=True, cwd=ROOT)
            for size in ("32", "48")
        )
    finally:
        for path in (root, *root.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{store.path} {store.key}"
    assert other.returncode == 2
    assert "the folder cannot be written" in other.stderr
    assert sorted(root.rglob("*")) == before
