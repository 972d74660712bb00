from pathlib import Path

import pytest

import featstore
from tests.stores import write_store


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write_store(tmp_path / "test-abababababab.zarr")


@pytest.fixture
def store(store_path: Path) -> featstore.Store:
    return featstore.open(store_path)
