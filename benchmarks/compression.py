"""What compression, float16 and a bucket cost on the features of a real store.

For each codec, the size of the features and how fast a shuffled epoch is streamed, beside
zarr-python's own fancy indexing of the same array::

    python benchmarks/compression.py STORE [--rounds 5]

The bucket is moto's S3 server on loopback: it shows what requests cost, not what a network does. A
second figure is taken with a cache of a few blocks, as if the store were many times the memory.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import zarr
from report import machine

import featstore
from featstore.exchange.export import export
from featstore.format.codecs import Codec

BATCH = 64
CODECS = [
    Codec(dtype, compression)
    for dtype in ("float32", "float16")
    for compression in ("none", "zstd", "blosc")
]
SMALL_GROUP, SMALL_CACHE = 40 * 2**20, 90 * 2**20


def stream(store: featstore.Store, seed: int) -> float:
    """Return clips a second over one shuffled epoch."""
    since, clips = time.perf_counter(), 0
    for batch in store.stream(BATCH, seed):
        clips += len(batch.clips)
    return clips / (time.perf_counter() - since)


def fancy(store: featstore.Store, array: Any, seed: int, batches: int) -> float:
    """Return clips a second of padded batches by zarr-python's fancy indexing."""
    order = np.random.default_rng(seed).permutation(len(store))
    since = time.perf_counter()
    for first in range(0, batches * BATCH, BATCH):
        wanted = order[first : first + BATCH]
        spans = [np.arange(store.offsets[clip], store.offsets[clip + 1]) for clip in wanted]
        rows = array.oindex[np.concatenate(spans)]
        mask = np.arange(store.row_size[wanted].max()) < store.row_size[wanted][:, None]
        features = np.zeros((*mask.shape, store.dim), np.float32)
        features[mask] = rows
    return batches * BATCH / (time.perf_counter() - since)


@contextmanager
def small_memory() -> Iterator[None]:
    """Let the store be many times the cache."""
    with (
        patch("featstore.format.shuffle.GROUP_BYTES", SMALL_GROUP),
        patch("featstore.format.rows.CACHE_BYTES", SMALL_CACHE),
    ):
        yield


@contextmanager
def bucket() -> Iterator[str]:
    """Run an S3 server on loopback and give the URL of a bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        import s3fs

        s3fs.S3FileSystem().mkdir("features")
        yield "s3://features"
    finally:
        server.terminate()
        server.wait()


def measure(
    name: str, open_store: Callable[[], featstore.Store], array: Any, rounds: int, batches: int
) -> str:
    """Return a row of the table: medians over interleaved rounds, ratios within a round."""
    rates: dict[str, list[float]] = {"stream": [], "small": [], "fancy": []}
    store = open_store()
    for seed in range(rounds + 1):
        rates["stream"].append(stream(store, seed))
        with small_memory():
            rates["small"].append(stream(open_store(), seed))
        rates["fancy"].append(fancy(store, array, seed, batches))
    warm = {kind: values[1:] for kind, values in rates.items()}
    ratio = median(a / b for a, b in zip(warm["stream"], warm["fancy"], strict=True))
    small = median(a / b for a, b in zip(warm["small"], warm["fancy"], strict=True))
    stored = sum(
        len(store.container.chunk_bytes(number)) for number in range(len(store.layout.units()))
    )
    plain = store.layout.steps * store.dim * 4
    figures = [median(warm[kind]) for kind in ("stream", "small", "fancy")]
    return (
        f"| {name} | {stored / plain:.2f} | "
        + " | ".join(f"{figure:,.0f}" for figure in figures)
        + f" | {ratio:.1f} | {small:.1f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=2, help="a round, of zarr-python")
    options = parser.parse_args()
    source = featstore.open(options.store)
    print(machine())
    print(f"{source!r}, row_size {source.row_size.min()} to {source.row_size.max()}\n")
    print("| features | size / float32 | stream, clips/s | with a small cache | zarr-python, "
          "fancy | ratio | ratio with a small cache |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary, bucket() as url:
        for codec in CODECS:
            name = f"{codec.dtype}, {codec.compression}"
            path = Path(temporary) / f"{codec.dtype}-{codec.compression}.zarr"
            export(source, path, "zarr", codec)
            row(name, path, options)
            if codec.dtype == "float32" and codec.compression in ("none", "zstd"):
                export(source, f"{url}/{path.name}", "zarr", codec)
                row(f"{name}, S3", f"{url}/{path.name}", options)


def row(name: str, place: Path | str, options: argparse.Namespace) -> None:
    """Measure and print one row."""
    array: Any = zarr.open_group(place, mode="r")["features"]
    open_store = partial(featstore.open, place)
    print(measure(name, open_store, array, options.rounds, options.batches), flush=True)


if __name__ == "__main__":
    main()
