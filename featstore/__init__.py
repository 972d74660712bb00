"""Features of video clips, extracted once and read for ever.

Reading a store needs this package alone, and neither torch nor the pipeline that wrote it.

Examples
--------
>>> import featstore
>>> featstore.open("features/no-such-store.zarr")
Traceback (most recent call last):
    ...
featstore.errors.StoreNotFoundError: There is no store at features/no-such-store.zarr; ...
"""

from featstore.errors import (
    BusyError,
    CorruptStoreError,
    FeatstoreError,
    InputError,
    SchemaError,
    StoreNotFoundError,
)
from featstore.fused import fuse
from featstore.store import Store
from featstore.store import open_store as open  # the module's verb: featstore.open(path)
from featstore.stream import Batch

__all__ = [
    "Batch",
    "BusyError",
    "CorruptStoreError",
    "FeatstoreError",
    "InputError",
    "SchemaError",
    "Store",
    "StoreNotFoundError",
    "fuse",
    "open",
]
