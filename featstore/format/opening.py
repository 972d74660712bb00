"""Open a store of any format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featstore.format.container import Container
from featstore.format.files import ZIP_SUFFIX, is_remote


def open_container(place: Path | str) -> Container:
    """Open a sealed store in whatever format it has.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `place`.
    SchemaError
        If its schema cannot be read.
    CorruptStoreError
        If its metadata disagree with the seal.
    """
    from featstore.format.hdf5_format import Hdf5Container
    from featstore.format.zarr_format import ZarrContainer

    if not is_remote(place) and Path(place).is_file() and not str(place).endswith(ZIP_SUFFIX):
        return Hdf5Container(Path(place))
    return ZarrContainer(place)


def read_attributes(place: Path | str) -> dict[str, Any]:
    """Return the root attributes of a sealed store, reading one small text and importing little.

    Raises
    ------
    StoreNotFoundError, SchemaError, CorruptStoreError
        See `open_container`.
    """
    return open_container(place).attributes
