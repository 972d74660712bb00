"""In how much memory, and with how few open files, a large store is streamed.

Writes a store of 8 GB and streams a shuffled epoch of it in a new process; then a store of 2,000
chunks in a process that may have 256 files open. Both are removed afterwards::

    python benchmarks/memory.py [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from private import Peak, kernel_bytes
from report import machine
from synthetic import STORES, contents

import featstore
from featstore.writing.writer import StoreWriter

GIGA = 1e9
FILES = 256
MOST = 1.0  # GB of private memory


def write(path: Path, clips: int, dim: int, chunk_rows: int | None) -> int:
    """Write a store in which every row begins with its number; return its chunks."""
    made = contents(np.full(clips, 30), dim, chunk_rows)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((made.layout.chunk_rows, dim), np.float32)
    writer = StoreWriter(path, made)
    for unit, (first, last) in enumerate(made.layout.units()):
        rows[: last - first, 0] = np.arange(first, last)
        writer.write(unit, rows[: last - first])
    writer.seal()
    return len(made.layout.units())


def stream(path: Path) -> None:
    """Open and stream a shuffled epoch, see that every row came once, and print what it took."""
    with Peak(0.25) as memory:
        began = time.perf_counter()
        store = featstore.open(path)
        opened = time.perf_counter() - began
        seen = np.zeros(int(store.row_size.sum()), np.int8)
        taken, total, files = 0.0, 0, 0
        batches = store.stream(64, 0)
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            taken += time.perf_counter() - before
            if batch is None:
                break
            np.add.at(seen, batch.features[:, :, 0][batch.mask].astype(np.int64), 1)
            total += batch.features.nbytes
            files = max(files, sum(1 for _ in Path("/proc/self/fd").iterdir()))
        resident = kernel_bytes("Rss")
    assert (seen == 1).all(), "a row is missing, or came twice"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    print(
        f"| {path.name} | {total / GIGA:.2f} | {opened:.2f} | {total / taken / GIGA:.2f} "
        f"| {memory.peak / GIGA:.3f} | {resident / GIGA:.2f} | {files} of {limit} "
        f"| {'met' if memory.peak / GIGA < MOST else 'MISSED'} |"
    )


def streamed(path: Path, files: int | None) -> None:
    """Stream in a new process, which shows its line or its error."""
    command = [sys.executable, __file__, "--stream", str(path)]

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
    error = (done.stderr.strip().splitlines() or ["no output"])[-1]
    print(done.stdout.strip() if done.returncode == 0 else f"| {path.name} | {error} |")


def main() -> None:
    """Write and stream, one store after the other."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="with room for twice the store (temporary)")
    parser.add_argument("--gigabytes", type=float, default=8.2)
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        stream(options.stream)
        return
    print(machine())
    print("\n| store | GB | s to open | GB/s | private GB, peak | resident GB | files | < 1 GB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    large = int(options.gigabytes * GIGA / (30 * 512 * 4))
    for suffix in STORES.values():
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder, f"large-{suffix}")
            write(path, large, 512, None)
            streamed(path, None)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder, f"many-chunks-{suffix}")
            # 64 x 64 float32: chunks of four pages.
            chunks = write(path, options.chunks * 64 // 30, 64, 64)
            assert chunks >= options.chunks - 1, chunks
            streamed(path, FILES)


if __name__ == "__main__":
    main()
