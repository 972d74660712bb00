"""Stores that are written step by step, for tests that stop in between."""

from pathlib import Path

import numpy as np

import featstore
from featstore.writing.writer import StoreWriter
from tests.stores import contents, features

SIZES = [30, 40, 7, 60, 13]


class Killed(BaseException):
    """Stands for the end of the process: nothing that handles errors sees it."""


def made(chunk_rows: int = 20, **options):
    return contents(SIZES, chunk_rows=chunk_rows, **options)


def write(writer: StoreWriter, units, rows: np.ndarray | None = None) -> None:
    rows = features(SIZES) if rows is None else rows
    for unit in units:
        first, last = made().layout.units()[unit]
        writer.write(unit, rows[first:last])


def units() -> range:
    return range(len(made().layout.units()))


def bytes_of(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


def seal(writer: StoreWriter, final: Path) -> dict[str, bytes]:
    """Seal, and return the bytes of the store, which is all that is left."""
    writer.seal()
    assert list(final.parent.iterdir()) == [final]
    assert list(featstore.open(final, check=True).container.damages()) == []
    return bytes_of(final)
