"""Exports that are imported again."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore import InputError
from featstore.exchange.export import codec_for, export
from featstore.exchange.npy_folder import DESCRIPTION
from featstore.format import schema
from tests.imports import ROWS, clips, imported, save, write_labels
from tests.stores import contents, write_store

FORMULA = ("=", "+", "-", "@", "\t")


@pytest.mark.parametrize("names", ["é/ü", 'a/b/c,"d"\n e ', "  ", "=1+1", "-", "'=1", "'a", "@\tx"])
@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_round_trip_by_npy_is_exact(tmp_path: Path, names: str, form: str) -> None:
    sizes = [3, 4, 1, 6, 1, 1]
    made = contents(sizes, chunk_rows=4)
    made = replace(made, columns=made.columns | {
        "clip_id": np.array([f"{names}{i}" for i in range(6)]),
        "video_name": np.array([f"{names}v.mp4"]),
        "subject_name": np.array([f"ann{names}", "bob", "cid "]),
        "label_name": np.array(["9", f"walk{names}", "never"]),
        "time": np.where(np.arange(16) % 5 == 0, np.nan, np.arange(16) / 7),
    })  # fmt: skip
    store = featstore.open(write_store(tmp_path / "a.zarr", made))
    folder = tmp_path / "out"
    export(store, folder, "npy", codec_for(store, "npy", None, None))
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as stream:
        assert not any(cell.startswith(FORMULA) for row in csv.reader(stream) for cell in row)
    again = imported(folder, folder / "clips.csv", format=form)
    assert again.path.suffix == {"zarr": ".zarr", "hdf5": ".h5"}[form]
    assert again.classes == store.classes
    for name in ("clip_ids", "labels", "subjects", "videos", "splits", "start", "stop", "status"):
        np.testing.assert_array_equal(getattr(again, name), getattr(store, name))
    for name in ("row_size", "frame", "time", "split_name", "subject_name"):
        np.testing.assert_array_equal(again.columns[name], store.columns[name])
    assert again.rows.span(0, 16).tobytes() == store.rows.span(0, 16).tobytes()
    assert again.title == store.title
    second = tmp_path / "out2"
    export(again, second, "npy", codec_for(again, "npy", None, None))
    assert imported(second, second / "clips.csv", format=form).key == again.key


@pytest.mark.parametrize("name", ["'=1", "plain"])
def test_exports_of_before_are_read_as_they_were(tmp_path: Path, name: str) -> None:
    """They escaped nothing, so an apostrophe there is one of the name."""
    made = contents(chunk_rows=4)
    made = replace(made, columns=made.columns | {"label_name": np.array(["sit", name, "never"])})
    store = featstore.open(write_store(tmp_path / "a.zarr", made))
    export(store, tmp_path / "out", "npy", codec_for(store, "npy", None, None))
    table, described = (tmp_path / "out" / file for file in ("clips.csv", "store.json"))
    table.write_text(table.read_text("utf-8").replace("''=1", "'=1"), "utf-8")
    described.write_text(
        described.read_text("utf-8").replace('"featstore_export": 2', '"featstore_export": 1')
    )
    assert '"featstore_export": 1' in described.read_text("utf-8")
    assert imported(tmp_path / "out", table).classes == store.classes


@pytest.mark.parametrize("title", [None, 3, []])
def test_a_description_without_a_title_is_a_sentence(tmp_path: Path, title: object) -> None:
    store, folder = featstore.open(write_store(tmp_path / "a.zarr")), tmp_path / "out"
    export(store, folder, "npy", codec_for(store, "npy", None, None))
    described = json.loads((folder / DESCRIPTION).read_bytes())
    del described["attributes"]["title"]
    if title is not None:
        described["attributes"]["title"] = title
    (folder / DESCRIPTION).write_text(json.dumps(described))
    with pytest.raises(InputError, match=DESCRIPTION):
        imported(folder, folder / "clips.csv")


def test_round_trip_keeps_float16_failed_clips_and_unknown_subjects(tmp_path: Path) -> None:
    arrays = {name: array.astype("float16") for name, array in clips().items()}
    arrays["d"][:] = np.nan
    rows = [row | {"status": int(row["clip_id"] == "d")} for row in ROWS]
    labels = write_labels(tmp_path / "labels.csv", rows)
    store = imported(save(tmp_path / "source", arrays), labels)
    assert store.dtype == "float16"
    assert store.status.tolist() == [0, 0, 0, schema.STATUS_FAILED]
    export(store, tmp_path / "out", "npy", codec_for(store, "npy", None, None))
    again = imported(tmp_path / "out", tmp_path / "out/clips.csv")
    assert (again.key, again.path) == (store.key, store.path)
