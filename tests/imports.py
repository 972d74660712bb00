"""Arrays of clips on the disk, and imports of them."""

import csv
from pathlib import Path

import numpy as np

import featstore
from featstore import Store
from pipeline.ingest.ingest import import_store, prepare_import
from pipeline.ingest.plan import ImportOptions
from tests.builds import silent

DIM = 3
PARTS = {"a": "train", "b": "train", "c": "val", "d": "test"}
ROWS = [{"clip_id": name, "label": f"is {name}", "split": part} for name, part in PARTS.items()]


def clips(dtype: str = "float32") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(n + 2, DIM)).astype(dtype) for n, name in enumerate(PARTS)}


def save(folder: Path, arrays: dict[str, np.ndarray], suffix: str = "") -> Path:
    for name, array in arrays.items():
        path = folder / f"{name}{suffix}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    return folder


def write_labels(path: Path, rows: list[dict]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def imported(source: Path, labels: Path | None = None, **more) -> Store:
    options = ImportOptions(source=source, labels=labels, store=source.parent / "stores", **more)
    found = prepare_import(options, silent)
    import_store(found, silent)
    return featstore.open(found.path)


def by_id(store: Store) -> dict[str, np.ndarray]:
    return {str(name): store[i] for i, name in enumerate(store.clip_ids)}
