"""How fast ``featstore browse`` is in a browser, on a store of made-up clips.

::

    python benchmarks/browse.py [--clips 10000] [--dim 512]

Needs Chromium. Prints milliseconds from an input to the next frame that shows its result.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
from chromium import Chromium
from report import machine
from werkzeug.serving import make_server

from featstore.format import schema
from featstore.format.contents import Contents
from featstore.format.layout import Layout, default_chunk_rows
from featstore.writing.writer import StoreWriter
from pipeline.browse.server import make_app

STEPS, CLASSES, SUBJECTS = 10, 39, 30
# The next frame begins after what this one shows; work that is put off counts.
TIMED = """(async () => { const times = [];
  for (let i = 0; i < 15; i += 1) { const start = performance.now(); %s;
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    times.push(performance.now() - start); } return times; })()"""
INPUTS = {
    "filter by label": "$('label').value = i; $('label').dispatchEvent(new Event('change'))",
    "remove the filter": "$('label').value = ''; $('label').dispatchEvent(new Event('change'))",
    "search": "$('text').value = `clip ${i}`; $('text').dispatchEvent(new Event('input'))",
    "remove the search": "$('text').value = ''; $('text').dispatchEvent(new Event('input'))",
    "scroll to another place": "$('list').scrollTop = (i * 7919 * ROW) % (shown.length * ROW)",
    "next clip by key": "move(shown.indexOf(selected) + 1)",
}


def write_store(path: Path, clips: int, dim: int) -> None:
    """Write clips of random features around the mean of their class."""
    rng, number = np.random.default_rng(0), np.arange(clips)
    rows = clips * STEPS
    columns = {
        "clip_id": np.array([f"subject/recording/clip {i}" for i in number]),
        "row_size": np.full(clips, STEPS),
        "status": np.zeros(clips, np.int8),
        "label": rng.integers(0, CLASSES, clips),
        "subject": number * SUBJECTS // clips,
        "video": np.zeros(clips, np.int32),
        "split": np.minimum(number * 5 // clips, 4).clip(2) - 2,
        "start": number * STEPS,
        "stop": (number + 1) * STEPS,
        "label_name": np.array([f"class {i}" for i in range(CLASSES)]),
        "subject_name": np.array([f"subject {i}" for i in range(SUBJECTS)]),
        "split_name": np.array(schema.PARTS),
        "video_name": np.array(["none.mp4"]),
        "video_sha256": np.array(["00" * 32]),
        "video_range": np.array(["limited"]),
        "frame": np.arange(rows),
        "time": np.arange(rows) / 10,
    }
    attributes = {
        schema.SCHEMA_ATTRIBUTE: schema.VERSION,
        "key": "ab" * 32,
        "title": "made up",
        "subjects_known": True,
        "features": {},
        "clips": {"train": clips},
    }
    layout = Layout(columns["row_size"], dim, default_chunk_rows(dim, rows))
    writer = StoreWriter(path, Contents(layout, columns, attributes))
    means = rng.normal(size=(CLASSES, dim)).astype(np.float32)
    for unit, (first, last) in enumerate(layout.units()):
        labels = columns["label"][np.arange(first, last) // STEPS]
        noise = rng.normal(scale=4, size=(last - first, dim)).astype(np.float32)
        writer.write(unit, means[labels] + noise)
    writer.seal()


def main() -> None:
    """Write the store, open the page, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "features"
        root.mkdir()
        write_store(root / "made-up.zarr", arguments.clips, arguments.dim)
        server = make_server("127.0.0.1", 0, make_app(root, "token"), threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Chromium(Path(folder) / "profile") as page:
            measure(page, f"http://127.0.0.1:{server.server_port}/token/", arguments.clips)
        server.shutdown()


def measure(page: Chromium, address: str, clips: int) -> None:
    """Print what the page of one store takes."""
    print(f"\n| {clips:,} clips | median | slowest |\n| --- | --- | --- |")
    start = time.perf_counter()
    page.call("Page.navigate", url=address)
    for name, ready in {
        "page and list": "shown.length",
        "map by PCA": "points",
    }.items():
        page.until(ready)
        print(f"| {name}, from the start | {time.perf_counter() - start:.2f} s | |")
    page.run("move(0)")
    for name, code in INPUTS.items():
        times = page.run(TIMED % code)
        print(f"| {name} | {median(times):.0f} ms | {max(times):.0f} ms |")
    for name, code, ready in (
        ("label errors", "$('show').value = 'errors'", "errors"),
        ("map by t-SNE", "$('method').value = 'tsne'", "points.clips.length <= 2000"),
    ):
        start = time.perf_counter()
        target = "show" if ready == "errors" else "method"
        page.run(f"{code}; $('{target}').dispatchEvent(new Event('change'))")
        page.until(ready, seconds=600)
        print(f"| {name} | {time.perf_counter() - start:.2f} s | |")


if __name__ == "__main__":
    main()
