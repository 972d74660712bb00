"""Sealed stores of which one bit flips."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import numpy as np

import featstore
from featstore.errors import FeatstoreError
from featstore.exchange.export import codec_for, export
from featstore.format.codecs import Codec
from featstore.manage.verify import verify
from tests.faults.outcomes import Trial
from tests.stores import contents, write_store

SIZES = [30, 4, 22, 61, 1, 40]
FORMATS = ("zarr", "zarr compressed", "hdf5", "zip")


@cache
def sealed(home: Path, form: str) -> Path:
    """Write a store once; return where it lies."""
    compressed = "compressed" in form
    codec = Codec(compression="zstd") if compressed else Codec()
    whole = write_store(
        home / f"sealed-{form}.zarr", contents(SIZES, dim=64, chunk_rows=16, codec=codec)
    )
    if form.startswith("zarr"):
        return whole
    path = home / f"sealed.{'h5' if form == 'hdf5' else 'zarr.zip'}"
    store = featstore.open(whole)
    export(store, path, form, codec_for(store, form, None, None))
    return path


def flipped(folder: Path, rng: np.random.Generator) -> Trial:
    """Flip one bit of a store; `verify` and reads with checks must notice, or nothing changed."""
    form = FORMATS[int(rng.integers(len(FORMATS)))]
    original = sealed(folder.parent, form)
    place = folder / original.name
    (shutil.copytree if original.is_dir() else shutil.copyfile)(original, place)
    where = _flip(place, rng)
    expected = content(featstore.open(original))
    try:
        findings = list(verify(place))
        noticed = f"verify names {findings[0]}" if findings else ""
    except FeatstoreError as error:
        noticed = str(error)
    try:
        found = content(featstore.open(place, check=True))
    except FeatstoreError as error:
        if not noticed:
            return Trial("SILENTLY WRONG", f"{form}, {where}: reads refuse ({error}), not verify")
        return Trial("named by verify, refused by reads", noticed)
    if found != expected:
        return Trial("SILENTLY WRONG", f"{form}, {where}: read as if it were whole")
    if noticed:
        return Trial("named by verify, reads equal", noticed)
    return Trial("outside of what is sealed, reads equal", where)


def _flip(place: Path, rng: np.random.Generator) -> str:
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    files = [path for path in files if path.is_file() and path.stat().st_size]
    sizes = np.array([path.stat().st_size for path in files], float)
    # Half of the flips by size, half by file: metadata are small.
    weights = sizes / sizes.sum() if rng.random() < 0.5 else None
    path = files[int(rng.choice(len(files), p=weights))]
    bytes_ = bytearray(path.read_bytes())
    at, bit = int(rng.integers(len(bytes_))), int(rng.integers(8))
    bytes_[at] ^= 1 << bit
    path.write_bytes(bytes_)
    return f"{path.name}, byte {at}, bit {bit}"


def content(store: featstore.Store) -> dict[str, object]:
    """Return everything that a store says."""
    columns = {name: np.asarray(own).tolist() for name, own in store.columns.items()}
    rows = [np.asarray(own).tobytes() for own in store]
    return {"columns": columns, "rows": rows, "attributes": dict(store.attributes)}
