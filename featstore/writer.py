"""Writing a store: under a temporary name, unit by unit, sealed, then renamed into place."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore import schema
from featstore.layout import Layout
from featstore.seal import file_checksums, sealed, sync, sync_tree

if TYPE_CHECKING:
    import zarr


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a store but its features, known before the first frame is decoded.

    Attributes
    ----------
    layout : Layout
    columns : mapping of str to ndarray
        Every array of ``schema.CLIP_COLUMNS``, ``schema.NAME_ARRAYS`` and
        ``schema.STEP_COLUMNS``.
    attributes : mapping
        Root attributes, the seal excepted.
    """

    layout: Layout
    columns: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, Any]


class StoreWriter:
    """A store being written; nothing can open it as a store before `seal`.

    Parameters
    ----------
    final : Path
        Where the sealed store goes. Until then it is called ``.<name>.building`` beside it;
        what an earlier, killed writer left there is removed.
    contents : Contents
    """

    def __init__(self, final: Path, contents: Contents) -> None:
        self._final = final
        self._building = final.with_name(f".{final.name}.building")
        self._contents = contents
        discard(self._building)
        try:
            self._features = self._create()
        except BaseException:
            discard(self._building)
            raise

    def write(self, first: int, rows: NDArray[np.float32]) -> None:
        """Write one unit: whole chunks from row `first` on.

        Parameters
        ----------
        first : int
            A multiple of the chunk's rows.
        rows : ndarray of float32, shape (rows, dim)
        """
        self._features[first : first + len(rows)] = rows

    def seal(self, attributes: Mapping[str, Any]) -> None:
        """Add `attributes`, checksum every file, write the root metadata last, and rename."""
        import zarr

        checksums = file_checksums(self._building)
        root = zarr.open_group(self._building, mode="r+")
        root.update_attributes(sealed({**self._contents.attributes, **attributes}, checksums))
        sync_tree(self._building)
        self._building.rename(self._final)
        sync(self._final.parent)

    def discard(self) -> None:
        """Remove what was written; for a build that cannot be finished."""
        discard(self._building)

    def _create(self) -> zarr.Array[Any]:
        import zarr

        layout, columns = self._contents.layout, self._contents.columns
        clips = len(layout.row_size)
        root = zarr.create_group(self._building, zarr_format=3)
        for name, dtype in schema.CLIP_COLUMNS.items():
            _array(root, name, columns[name], dtype, "clip", max(1, clips))
        root["row_size"].update_attributes({"sample_dimension": "step"})  # CF conventions, 9.3.3
        for name, dimension in schema.NAME_ARRAYS.items():
            _array(root, name, columns[name], "string", dimension, max(1, len(columns[name])))
        for name, dtype in schema.STEP_COLUMNS.items():
            _array(root, name, columns[name], dtype, "step", layout.chunk_rows)
        root["time"].update_attributes({"units": "s"})
        return root.create_array(
            schema.FEATURES,
            shape=(layout.steps, layout.dim),
            chunks=(layout.chunk_rows, layout.dim),
            dtype="float32",
            fill_value=float("nan"),
            compressors=None,
            dimension_names=("step", "feature"),
            # A chunk that equals the fill value must still be a file with a checksum.
            config={"write_empty_chunks": True},
        )


def discard(building: Path) -> None:
    """Remove an unfinished store."""
    shutil.rmtree(building, ignore_errors=True)


def _array(
    root: zarr.Group, name: str, values: NDArray[Any], dtype: str, dimension: str, chunk: int
) -> None:
    array = root.create_array(
        name,
        shape=values.shape,
        chunks=(chunk,),
        dtype=dtype,
        compressors=None,
        dimension_names=(dimension,),
        config={"write_empty_chunks": True},
    )
    array[...] = values.astype(object) if dtype == "string" else values
