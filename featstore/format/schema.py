"""Names, dimensions and dtypes of a store's arrays; see ``docs/store-format.md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from featstore.errors import SchemaError

VERSION: Final = 1
SCHEMA_ATTRIBUTE: Final = "featstore_schema"

FEATURES: Final = "features"

# All are one-dimensional. Steps and clips: column -> dtype. The clip columns label, subject, video
# and split hold positions in the name arrays: array -> its dimension.
STEP_COLUMNS: Final = {"frame": "int64", "time": "float64"}

CLIP_COLUMNS: Final = {
    "clip_id": "string",
    "row_size": "int64",
    "status": "int8",
    "label": "int32",
    "subject": "int32",
    "video": "int32",
    "split": "int8",
    "start": "int64",
    "stop": "int64",
}

NAME_ARRAYS: Final = {
    "label_name": "label_index",
    "subject_name": "subject_index",
    "split_name": "split_index",
    "video_name": "video_index",
    "video_sha256": "video_index",
    "video_range": "video_index",
}

ATTRIBUTES: Final[dict[str, dict[str, str]]] = {
    "row_size": {"sample_dimension": "step"},  # CF conventions, 9.3.3
    "time": {"units": "s"},
}

# Every array except features: name -> dtype, dimension, attributes.
ARRAYS: Final = {
    **{name: (dtype, "clip", ATTRIBUTES.get(name, {})) for name, dtype in CLIP_COLUMNS.items()},
    **{
        name: ("string", dimension, ATTRIBUTES.get(name, {}))
        for name, dimension in NAME_ARRAYS.items()
    },
    **{name: (dtype, "step", ATTRIBUTES.get(name, {})) for name, dtype in STEP_COLUMNS.items()},
}

# Entries in a chunk of such an array.
COLUMN_CHUNK: Final = 2**20

PARTS: Final = ("train", "val", "test")

# In the column `label`, of a clip without one.
UNLABELLED: Final = -1

STATUS_OK: Final = 0
STATUS_FAILED: Final = 1


def check_version(attributes: Mapping[str, Any], where: str) -> None:
    """Refuse a store that this version cannot read.

    Raises
    ------
    SchemaError
        If the schema is missing or newer than this version's.
    """
    version = attributes.get(SCHEMA_ATTRIBUTE)
    if not isinstance(version, int):
        raise SchemaError(f"{where} is not a featstore store: it has no {SCHEMA_ATTRIBUTE!r}.")
    if version > VERSION:
        raise SchemaError(
            f"{where} has schema {version}, but this featstore reads up to schema {VERSION}; "
            "upgrade featstore to read it."
        )
