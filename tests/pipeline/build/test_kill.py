import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builds import write_dataset
from tests.folders import ROOT

# More for a long night.
KILLS = int(os.environ.get("FEATSTORE_TEST_KILLS", "3"))
NOT_BYTES_OF_STORES = (".cache.sqlite", ".build.json", ".lock")


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder of stores that is part of a store, or should not be there."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(NOT_BYTES_OF_STORES)
    }


@pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
def test_builds_killed_at_random_moments_end_in_the_same_bytes(
    tmp_path: Path, store_format: str
) -> None:
    data = write_dataset(tmp_path / "data")
    command = [sys.executable, "-m", "tests.kill_builds", data, tmp_path, store_format, "0"]
    done = subprocess.run(
        [*map(str, command), str(KILLS)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) killed, (\d+) with finished units, (\d+) stores", done.stdout)
    assert found
    killed, resumed, stores = map(int, found.groups())
    assert killed >= KILLS
    assert resumed > 0
    undisturbed = contents(tmp_path / "undisturbed")
    assert len(undisturbed) > 1
    for number in range(stores):
        assert contents(tmp_path / f"killed{number}") == undisturbed
