"""A store with subjects, classes and planted label errors, and the page's application over it."""

from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

import featstore
from featstore import Store
from featstore.format.layout import Layout
from featstore.writing.writer import StoreWriter
from pipeline.browse.server import make_app
from pipeline.runs.files import write_csv, write_json
from tests.runs import METRICS, PART
from tests.stores import contents

TOKEN = "t0ken"  # noqa: S105
CLASSES = np.array(["sit", "walk", "<b>never</b>"])
CLIPS, DIM = 60, 6
PLANTED = [7, 20, 41]


def write_clips(path: Path, clips: int = CLIPS, **attributes: object) -> Path:
    """Write clips of two classes and five subjects; the labels of `PLANTED` are wrong."""
    number = np.arange(clips)
    rng = np.random.default_rng(0)
    made = contents([2] * clips, dim=DIM, **attributes)
    true = number % 2
    label = true.copy()
    label[PLANTED] = 1 - label[PLANTED]
    subject = number % 5
    columns = dict(made.columns) | {
        "label": label,
        "subject": subject,
        "split": np.array([0, 0, 0, 1, 2])[subject],
        "label_name": CLASSES,
        "subject_name": np.array([f"vp{i}" for i in range(5)]),
    }
    columns["status"][3] = 1
    made = type(made)(Layout(made.layout.row_size, DIM, 16), columns, made.attributes)
    rows = rng.normal(scale=0.4, size=(2 * clips, DIM)).astype(np.float32)
    rows[:, 0] += np.repeat(np.where(true, 2, -2), 2)
    rows[6:8] = np.nan
    writer = StoreWriter(path, made)
    for unit, (first, last) in enumerate(made.layout.units()):
        writer.write(unit, rows[first:last])
    writer.seal()
    return path


def write_run(folder: Path, store: Store) -> Path:
    """Write the predictions of a run that takes every clip of test for the second class."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("{}")
    metrics = METRICS | {"store_key": store.key, "subjects_known": True, "recipe": "tcn"}
    write_json(folder / "metrics.json", metrics | {"test": PART | {"clips": 12, "top1": 0.5}})
    rows = [
        {"clip": str(store.clip_ids[clip]), "part": "test", "label": store.label_names[clip]}
        | {"prediction": "walk", "probability": 0.5 + clip / 200}
        for clip in store.split("test")
    ]
    write_csv(folder / "predictions.csv", rows)
    return folder


@pytest.fixture(scope="session")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in a folder with one run."""
    root = tmp_path_factory.mktemp("browsed")
    store = featstore.open(write_clips(root / "small.zarr"))
    write_run(root / "runs/one", store)
    return store


@pytest.fixture
def client(browsed: Store) -> FlaskClient:
    assert isinstance(browsed.path, Path)
    return make_app(browsed.path.parent, TOKEN).test_client()
