"""The same store at every place and in every format that a store can have."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import featstore
from featstore.exchange import export as convert
from featstore.format.codecs import Codec
from featstore.format.container import chunk_name
from tests.stores import DIM, contents, features, write_store

SIZES = np.random.default_rng(5).integers(1, 60, 40).tolist()
STEPS = sum(SIZES)
# Of so many rows of four float32 numbers, a chunk is one page.
PAGE_ROWS = 256


@dataclass(frozen=True)
class Place:
    """Where a store lies, and how."""

    kind: str = "zarr"  # zarr, zip, h5 or s3
    chunk_rows: int = PAGE_ROWS
    codec: Codec = field(default_factory=Codec)
    mapped: bool = False

    @property
    def remote(self) -> bool:
        return self.kind == "s3"

    @property
    def expected(self) -> np.ndarray:
        return features(SIZES).astype(self.codec.dtype)

    def make(self, folder: Path, bucket: str) -> Path | str:
        """Write the store below a new folder, or to the bucket below the folder's name."""
        made = contents(SIZES, chunk_rows=self.chunk_rows, codec=self.codec)
        if self.kind == "h5":
            return write_store(folder / "s.h5", made)
        path = write_store(folder / "s.zarr", made)
        if self.kind == "zip":
            convert.archive(featstore.open(path), folder / "s.zarr.zip")
            return folder / "s.zarr.zip"
        if self.kind == "s3":
            url = f"{bucket}/{folder.name}/s.zarr"
            convert.upload(featstore.open(path), url)
            return url
        return path

    def flip(self, place: Path | str, number: int) -> None:
        """Change one bit in the middle of a chunk of features."""
        name = chunk_name(number)
        if self.kind == "s3":
            import s3fs

            system = s3fs.S3FileSystem()
            content = bytearray(system.cat_file(f"{place}/{name}"))
            content[len(content) // 2] ^= 1
            system.pipe_file(f"{place}/{name}", bytes(content))
            return
        path, offset = Path(place), 0
        if self.kind == "zarr":
            path = path / name
            offset = path.stat().st_size // 2
        elif self.kind == "zip":
            with zipfile.ZipFile(path) as opened:
                entry = opened.getinfo(name)
            offset = entry.header_offset + 30 + len(name) + entry.file_size // 2
        else:
            import h5py

            with h5py.File(path, "r") as file:
                where = (number * self.chunk_rows, 0)
                info = file["features"].id.get_chunk_info_by_coord(where)
            offset = info.byte_offset + info.size // 2
        with path.open("r+b") as stream:
            stream.seek(offset)
            byte = stream.read(1)[0]
            stream.seek(offset)
            stream.write(bytes([byte ^ 1]))


PLACES = {
    "mapped": Place(mapped=True),
    "unmapped": Place(chunk_rows=5),
    "float16": Place(chunk_rows=2 * PAGE_ROWS, codec=Codec("float16"), mapped=True),
    "float16-unmapped": Place(chunk_rows=5, codec=Codec("float16")),
    "zstd": Place(codec=Codec(compression="zstd")),
    "blosc": Place(codec=Codec(compression="blosc")),
    "float16-blosc": Place(codec=Codec("float16", "blosc")),
    "zip": Place("zip"),
    "hdf5": Place("h5", mapped=True),
    "hdf5-unmapped": Place("h5", chunk_rows=5),
    "hdf5-float16": Place("h5", chunk_rows=2 * PAGE_ROWS, codec=Codec("float16"), mapped=True),
    "s3": Place("s3"),
    "s3-zstd": Place("s3", codec=Codec(compression="zstd")),
}
assert DIM * 4 * PAGE_ROWS == 4096
