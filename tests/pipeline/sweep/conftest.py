"""A small store and space for sweeps."""

from pathlib import Path

import pytest

import featstore
from pipeline.sweep import Space, load_space
from tests.fakes import ordered_store
from tests.sweeps import saved, write_space


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return load_space(write_space(tmp_path))


@pytest.fixture
def on_disk(tmp_path: Path) -> featstore.Store:
    return featstore.open(saved(tmp_path / "store.zarr", ordered_store(60)))
