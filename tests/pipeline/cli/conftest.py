"""A small data set in the working folder."""

from pathlib import Path

import pytest

from tests.builds import write_dataset


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_dataset(tmp_path / "data").relative_to(tmp_path)
