"""How fast a store is written to the local disk, and in how much memory.

Timed are all units, the seal and the sync, and beside it a plain file of the same bytes with fsync,
in turns::

    python benchmarks/write.py [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from private import Peak
from report import machine
from synthetic import STORES, Rows, contents

from featstore.format.contents import Contents
from featstore.writing.writer import StoreWriter

MILLION = 1e6
TARGET = 300  # MB/s


def write_store(path: Path, made: Contents, rows: Rows) -> None:
    """Write every unit with the same rows, so that making them costs nothing, and seal."""
    writer = StoreWriter(path, made)
    for unit, (first, last) in enumerate(made.layout.units()):
        writer.write(unit, rows[: last - first])
    writer.seal()


def write_plain(path: Path, made: Contents, rows: Rows) -> None:
    """Write the same bytes into one file, and wait for the disk."""
    with path.open("wb") as file:
        for first, last in made.layout.units():
            file.write(rows[: last - first].data)
        file.flush()
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    path.unlink() if path.is_file() else shutil.rmtree(path)


def main() -> None:
    """Write in turns, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="on the disk to be measured (temporary)")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    clips = int(options.megabytes * MILLION / (30 * options.dim * 4))
    made = contents(np.full(clips, 30), options.dim)
    layout = made.layout
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((layout.chunk_rows, options.dim), np.float32)
    total, unit = layout.steps * options.dim * 4, rows.nbytes
    ways: dict[str, tuple[str, Callable[[Path, Contents, Rows], None]]] = {
        f"featstore, {form}": (name, write_store) for form, name in STORES.items()
    }
    ways["a plain file, fsync"] = ("plain.bin", write_plain)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, list[float]] = {name: [] for name in ways}
    print(machine())
    print(f"\n{len(layout.units())} units of {unit / 2**20:.3g} MiB, {total / MILLION:.0f} MB\n")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for number in range(options.rounds + 1):
            for name, (file, write) in ways.items():
                with Peak(0.002) as memory:
                    began = time.perf_counter()
                    write(Path(folder, file), made, rows)
                    taken = time.perf_counter() - began
                if number:  # the first round imports
                    seconds[name].append(taken)
                    peaks[name].append((memory.peak - memory.start) / unit)
                remove(Path(folder, file))
                os.sync()
    print("| writer | MB/s, median | lowest to highest | private memory above the start, units |")
    print("| --- | --- | --- | --- |")
    for name, taken_all in seconds.items():
        low, middle, high = (total / MILLION / f(taken_all) for f in (max, median, min))
        print(f"| {name} | {middle:.0f} | {low:.0f} to {high:.0f} | {max(peaks[name]):.2f} |")
    for name in list(ways)[:-1]:
        fast = total / MILLION / median(seconds[name]) >= TARGET
        small = max(peaks[name]) <= 2
        print(f"- {name}: {TARGET} MB/s {'met' if fast else 'MISSED'}, ", end="")
        print(f"at most 2 units {'met' if small else 'MISSED'}")


if __name__ == "__main__":
    main()
