"""Small sweeps, and stores on the disk for them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import featstore
from featstore.writing.writer import StoreWriter
from pipeline.sweep import Space
from pipeline.train.trial import Task
from tests.fakes import FakeStore
from tests.stores import contents

RECIPE = {
    "data": {"steps": 4},
    "head": {"kind": "recurrent", "hidden": 4, "input_norm": True},
    "train": {"epochs": 8, "patience": None, "optimizer": "adamw"},
}
FIELDS = {
    "train.lr": {"low": 1e-5, "high": 0.1, "log": True},
    "head.hidden": {"low": 2, "high": 8, "step": 2},
    "head.pool": {"choices": ["mean", "last"]},
}


def quiet(line: str) -> None:
    pass


def write_space(folder: Path, *, trials: int = 4, **train_options: Any) -> Path:
    """Write a recipe and a space of it."""
    recipe = {**RECIPE, "train": {**RECIPE["train"], **train_options}}
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe))
    space = {"recipe": str(folder / "small.yaml"), "trials": trials, "space": FIELDS}
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    return folder / "space.yaml"


def saved(path: Path, fake: FakeStore) -> Path:
    """Write a store on the disk with the clips of one in memory."""
    # Rows of 24 bytes: chunks of whole pages, so that they are mapped.
    made = contents(fake.row_size.tolist(), dim=fake.dim, chunk_rows=512, features={})
    parts, people = ["train", "val", "test"], sorted(set(fake.subjects))
    made.columns.update(
        label=fake.labels,
        label_name=np.array(fake.classes),
        split=np.array([parts.index(part) for part in fake.splits]),
        subject=np.array([people.index(who) for who in fake.subjects]),
        subject_name=np.array(people),
    )
    writer = StoreWriter(path, made)
    for number, (first, last) in enumerate(made.layout.units()):
        writer.write(number, np.array(fake.rows.array[first:last]))
    writer.seal()
    return path


def table(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def trials_of(out: Path) -> list[dict[str, str]]:
    """What the table says of every trial, but its number and how long it took."""
    return [{k: v for k, v in row.items() if k not in ("trial", "seconds")} for row in table(out)]


def task_of(store: featstore.Store, space: Space, **changes: Any) -> Task:
    values = {"recipe": space.base.model_dump(), "key": store.key}
    values |= {"number": 0, "seed": 3, "device": "cpu", "bars": {}}
    return Task(**values | changes)
