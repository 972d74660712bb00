"""Encode and decode chunks of features: a dtype and an optional compressor.

The bytes are identical to those of Zarr's own codecs, so every Zarr reader can read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError, SchemaError

DTYPES: Final = ("float32", "float16")
COMPRESSIONS: Final = ("none", "zstd", "blosc")
# zstd gives the smallest store, blosc the fastest compressed one; docs/reading.md has figures.
ZSTD_LEVEL: Final = 3
BLOSC_LEVEL: Final = 5
BITSHUFFLE: Final = 2  # numcodecs' number


@dataclass(frozen=True, slots=True)
class Codec:
    """The dtype of stored features and their compressor.

    Attributes
    ----------
    dtype : {"float32", "float16"}
    compression : {"none", "zstd", "blosc"}
    """

    dtype: str = "float32"
    compression: str = "none"

    def __post_init__(self) -> None:
        for name, options in (("dtype", DTYPES), ("compression", COMPRESSIONS)):
            if getattr(self, name) not in options:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; it is one of {', '.join(options)}."
                )

    @property
    def item_size(self) -> int:
        """Bytes of one number before compression."""
        return np.dtype(self.dtype).itemsize

    def encode(self, chunk: NDArray[Any]) -> bytes | memoryview:
        """Return the bytes of a chunk of this dtype."""
        plain = np.ascontiguousarray(chunk, np.dtype(self.dtype).newbyteorder("<"))
        compressor = self._compressor()
        if compressor is None:
            return plain.reshape(-1).view(np.uint8).data
        return bytes(compressor.encode(plain))

    def decode(self, content: bytes, shape: tuple[int, int]) -> NDArray[Any]:
        """Return the chunk of these bytes, read-only.

        Raises
        ------
        ValueError
            If the bytes are not a chunk of this shape.
        """
        compressor = self._compressor()
        try:
            plain = content if compressor is None else compressor.decode(content)
        except (RuntimeError, MemoryError) as error:  # numcodecs raises these on damaged bytes
            raise ValueError(str(error)) from None
        chunk = np.frombuffer(plain, np.dtype(self.dtype).newbyteorder("<")).reshape(shape)
        chunk.flags.writeable = False
        return chunk

    def zarr_compressors(self) -> Any:
        """Return the ``compressors`` argument of `zarr.create_array`."""
        from zarr.codecs import BloscCodec, ZstdCodec

        if self.compression == "zstd":
            return ZstdCodec(level=ZSTD_LEVEL)
        if self.compression == "blosc":
            return BloscCodec(
                typesize=self.item_size, cname="lz4", clevel=BLOSC_LEVEL, shuffle="bitshuffle"
            )
        return None

    def _compressor(self) -> Any:
        if self.compression == "none":
            return None
        if self.compression == "zstd":
            from numcodecs.zstd import Zstd

            return Zstd(level=ZSTD_LEVEL)
        from numcodecs.blosc import Blosc

        return Blosc(cname="lz4", clevel=BLOSC_LEVEL, shuffle=BITSHUFFLE)


def codec_of(metadata: dict[str, Any], where: str) -> Codec:
    """Return the codec that an array's ``zarr.json`` states.

    Raises
    ------
    SchemaError
        If this version cannot read such an array.
    """
    names = [codec["name"] for codec in metadata["codecs"]]
    compression = names[1] if len(names) > 1 else "none"
    supported = names[0] == "bytes" and len(names) < 3 and compression in COMPRESSIONS
    if not supported or metadata["data_type"] not in DTYPES:
        raise SchemaError(
            f"{where} stores its features as {metadata['data_type']} with {', '.join(names)}, "
            "which this featstore cannot read; open it with zarr, or upgrade featstore."
        )
    return Codec(metadata["data_type"], compression)


def stored_chunk(
    rows: NDArray[np.float32], chunk_rows: int, codec: Codec
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return rows as a full chunk of the stored dtype, and the rounding errors."""
    chunk = np.full((chunk_rows, rows.shape[1]), np.nan, codec.dtype)
    if codec.dtype == "float32":
        chunk[: len(rows)] = rows
        return chunk, {}
    with np.errstate(over="ignore"):
        chunk[: len(rows)] = rows
    kept = chunk[: len(rows)].astype(np.float64)
    too_large = np.isinf(kept) & np.isfinite(rows)
    if too_large.any():
        raise InputError(
            f"A feature is {np.abs(rows[too_large]).max():g}, but float16 holds at most 65504; "
            "use --dtype float32."
        )
    whole = np.isfinite(rows).all(axis=1)
    exact = rows[whole].astype(np.float64)
    error = kept[whole] - exact
    return chunk, {
        "error_squares": float((error**2).sum()),
        "squares": float((exact**2).sum()),
        "largest_error": float(np.abs(error).max(initial=0)),
    }


def float16_error(commits: Iterable[Mapping[str, Any]]) -> dict[str, float] | None:
    """Return the float16 rounding errors of all units' commits; None for float32."""
    rounded = [commit for commit in commits if "squares" in commit]
    if not rounded:
        return None
    squares = sum(commit["squares"] for commit in rounded)
    errors = sum(commit["error_squares"] for commit in rounded)
    largest = max(commit["largest_error"] for commit in rounded)
    relative = (errors / squares) ** 0.5 if squares else 0.0
    return {"relative_rms": relative, "largest_absolute": largest}
