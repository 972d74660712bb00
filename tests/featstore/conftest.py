from pathlib import Path

import pytest

import featstore
from featstore.writing.writer import StoreWriter
from tests.stores import write_store
from tests.writing import bytes_of, made, units, write


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write_store(tmp_path / "test-abababababab.zarr")


@pytest.fixture
def store(store_path: Path) -> featstore.Store:
    return featstore.open(store_path)


@pytest.fixture(params=[".zarr", ".h5"])
def final(request, tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    return tmp_path / "new" / f"s{request.param}"


@pytest.fixture
def undisturbed(final: Path) -> dict[str, bytes]:
    """The bytes of a store that was written from beginning to end."""
    path = final.parents[1] / final.name
    writer = StoreWriter(path, made())
    write(writer, units())
    writer.seal()
    return bytes_of(path)
