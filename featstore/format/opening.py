"""Open a store of any format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featstore.format.container import Container
from featstore.format.files import ZIP_SUFFIX, location_of


def open_container(location: Path | str) -> Container:
    """Open a sealed store; detect its format.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `location`.
    SchemaError
        If this version cannot read its schema.
    CorruptStoreError
        If its metadata disagree with the seal.
    """
    from featstore.format.hdf5_format import Hdf5Container
    from featstore.format.zarr_format import ZarrContainer

    location = location_of(location)
    if isinstance(location, Path) and location.is_file() and location.suffix != ZIP_SUFFIX:
        return Hdf5Container(location)
    return ZarrContainer(location)


def read_attributes(location: Path | str) -> dict[str, Any]:
    """Return the root attributes of a sealed store; fast, because it reads one small text.

    Raises
    ------
    StoreNotFoundError, SchemaError, CorruptStoreError
        See `open_container`.
    """
    return open_container(location).attributes
