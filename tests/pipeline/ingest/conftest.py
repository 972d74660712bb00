"""Four clips, a file each, and their labels."""

from pathlib import Path

import pytest

from tests.imports import ROWS, clips, save, write_labels


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "labels.csv", ROWS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(tmp_path / "source", clips())
