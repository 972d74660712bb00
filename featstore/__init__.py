"""Extract video features once, train many times.

`build` and `train` run the two stages, `predict` uses a trained run; `open` reads a store.
Importing this package, and reading a store or a run, needs neither torch nor PyAV.

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
    MissingPackageError,
    SchemaError,
    StoreNotFoundError,
)
from featstore.reading.fused import fuse
from featstore.reading.store import Store
from featstore.reading.store import open_store as open  # the module's verb: featstore.open(path)
from featstore.reading.stream import Batch
from featstore.stages import (
    Comparison,
    Prediction,
    Predictions,
    Run,
    build,
    compare,
    predict,
    train,
)

__all__ = [
    "Batch",
    "BusyError",
    "Comparison",
    "CorruptStoreError",
    "FeatstoreError",
    "InputError",
    "MissingPackageError",
    "Prediction",
    "Predictions",
    "Run",
    "SchemaError",
    "Store",
    "StoreNotFoundError",
    "build",
    "compare",
    "fuse",
    "open",
    "predict",
    "train",
]
