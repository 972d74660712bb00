"""Features that others extracted become a store."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore import InputError
from featstore.exchange import npy_arrays
from featstore.exchange.export import codec_for, export
from featstore.keys import store_key
from pipeline.ingest import content as clip_content
from pipeline.ingest.ingest import import_store, prepare_import
from pipeline.ingest.plan import ImportOptions
from tests.builds import silent
from tests.imports import DIM, PARTS, ROWS, by_id, clips, imported, save, write_labels


def test_folder_becomes_a_store(source: Path, labels: Path) -> None:
    store = imported(source, labels, fps=Fraction(4))
    for name, found in by_id(store).items():
        np.testing.assert_array_equal(found, clips()[name])
    assert store.splits.tolist() == list(PARTS.values())
    assert store.classes == ("is a", "is b", "is c", "is d")
    assert not store.subjects_known
    assert store.subjects.tolist() == store.videos.tolist() == list(PARTS)
    assert store.title == "source"
    np.testing.assert_array_equal(store.times(1), [0, 0.25, 0.5])
    np.testing.assert_array_equal(store.frames(1), [0, 1, 2])
    assert store.attributes["clips"] == {"train": 2, "val": 1, "test": 1}
    recomputed = store_key(
        store.attributes["features"], store.classes, store.clip_keys(), subjects_known=False
    )
    assert recomputed == store.key


def test_one_array_is_in_the_order_of_the_rows(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, DIM)).astype(np.float32)
    np.save(tmp_path / "all.npy", array)
    rows = [{"label": "x", "split": part, "steps": 2 + i} for i, part in enumerate(PARTS.values())]
    store = imported(tmp_path / "all.npy", write_labels(tmp_path / "labels.csv", rows))
    assert store.title == "all"
    assert store.clip_ids.tolist() == ["0", "1", "2", "3"]
    for number in range(4):
        np.testing.assert_array_equal(store[number], array[number, : 2 + number])
    np.save(tmp_path / "all.npy", array[:, 0])
    rows = [{"label": "x", "split": part, "clip_id": part + name} for name, part in PARTS.items()]
    store = imported(tmp_path / "all.npy", write_labels(tmp_path / "labels.csv", rows))
    assert store.row_size.tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(by_id(store)["valc"][0], array[2, 0])


def test_video_features_folder(tmp_path: Path, labels: Path) -> None:
    folder = tmp_path / "resnet"
    save(folder, {name: np.array(own.tolist()) for name, own in clips().items()}, "_resnet")
    save(folder, {name: np.array(25.0) for name in PARTS}, "_fps")
    times = {name: np.arange(len(own)) * 40.0 for name, own in clips().items()}
    save(folder, times, "_timestamps_ms")
    (folder / "._a_resnet.npy").write_bytes(b"of macOS")
    found = prepare_import(ImportOptions(source=folder, labels=labels), silent)
    assert found.notes == []  # their float64 holds float32
    store = imported(folder, labels)
    np.testing.assert_array_equal(by_id(store)["d"], clips()["d"])
    np.testing.assert_array_equal(store.times(3), np.arange(5) * 40 / 1000)
    # The same numbers as float32 are the same content.
    save(folder, clips(), "_resnet")
    assert imported(folder, labels).key == store.key
    files = [{"file": f"{row['clip_id']}_resnet.npy", **row, "clip_id": 2 * row["clip_id"]}
             for row in ROWS]  # fmt: skip
    named = imported(folder, write_labels(tmp_path / "files.csv", files))
    assert named.clip_ids.tolist() == ["aa", "bb", "cc", "dd"]
    np.testing.assert_array_equal(named.columns["time"], store.columns["time"])


@pytest.mark.parametrize("column", ["clip_id", "video", "file"])
def test_rows_may_name_videos_or_whole_paths(tmp_path: Path, source: Path, column: str) -> None:
    name = {"file": f"{source.absolute()}/{{}}.npy"}.get(column, "{}.mp4")
    rows = [
        {column: name.format(row["clip_id"]), "label": "x", "split": row["split"]} for row in ROWS
    ]
    store = imported(source, write_labels(tmp_path / "l.csv", rows))
    assert store.clip_ids.tolist() == list(PARTS)
    np.testing.assert_array_equal(store[3], clips()["d"])


def test_files_may_have_the_ending_of_their_video(tmp_path: Path) -> None:
    source = save(tmp_path / "source", clips(), ".mp4")
    rows = [row | {"clip_id": f"{row['clip_id']}.mp4"} for row in ROWS]
    store = imported(source, write_labels(tmp_path / "l.csv", rows))
    assert store.clip_ids.tolist() == [f"{name}.mp4" for name in PARTS]


def test_vector_is_one_step(source: Path, labels: Path) -> None:
    np.save(source / "b.npy", np.arange(DIM, dtype=">f4"))
    assert by_id(imported(source, labels))["b"].tolist() == [[0, 1, 2]]


def test_array_in_fortran_order_is_read_by_steps(source: Path, labels: Path) -> None:
    np.save(source / "b.npy", np.asfortranarray(clips()["b"]))
    np.testing.assert_array_equal(by_id(imported(source, labels))["b"], clips()["b"])


def test_rounding_of_float64_is_said(tmp_path: Path, labels: Path) -> None:
    folder = save(tmp_path / "source", clips() | {"a": clips("float64")["a"]})
    found = prepare_import(ImportOptions(source=folder, labels=labels), silent)
    assert len(found.notes) == 1
    assert found.notes[0].startswith("float64 of 1 clips is rounded to float32: by at most ")


def test_content_and_labels_decide_the_key_and_places_do_not(
    tmp_path: Path, source: Path, labels: Path
) -> None:
    def key(**more) -> str:
        options = ImportOptions(**{"source": source, "labels": labels} | more)
        return prepare_import(options, silent).key

    first = key()
    moved = save(tmp_path / "elsewhere/deep", clips())
    reordered = write_labels(tmp_path / "r.csv", [row | {"note": 1} for row in ROWS[::-1]])
    assert key(source=moved, labels=reordered, name="other", format="hdf5") == first
    others = [key(dtype="float16"), key(fps=Fraction(2))]
    renamed = [row | {"label": row["label"].replace("is d", "is c")} for row in ROWS]
    others.append(key(labels=write_labels(tmp_path / "l.csv", renamed)))
    changed = clips()
    changed["b"][1, 2] = np.nextafter(changed["b"][1, 2], np.float32(9))
    others.append(key(source=save(tmp_path / "changed", changed)))
    assert len({first, *others}) == 5


def test_interval_spreads_the_frames(tmp_path: Path, source: Path) -> None:
    rows = [row | {"start": 100, "stop": 110, "video": f"v{i}"} for i, row in enumerate(ROWS)]
    store = imported(source, write_labels(tmp_path / "l.csv", rows))
    assert store.frames(3).tolist() == [100, 102, 104, 106, 108]
    assert (store.start[0], store.stop[0], store.videos[0]) == (100, 110, "v0")


def test_unlisted_files_can_be_left_out(source: Path, labels: Path) -> None:
    np.save(source / "z.npy", np.zeros(1))
    options = ImportOptions(source=source, labels=labels, allow_unlisted=True)
    found = prepare_import(options, silent)
    assert (len(found.clips), found.notes) == (4, ["skipped: 1 file without a row"])


def test_file_that_changes_meanwhile_leaves_no_store(source: Path, labels: Path) -> None:
    options = ImportOptions(source=source, labels=labels, store=source.parent / "stores")
    found = prepare_import(options, silent)
    np.save(source / "c.npy", np.zeros((40, DIM), np.float32))
    with pytest.raises(InputError, match=r"c\.npy.*changed"):
        import_store(found, silent)
    assert not [p for p in options.store.iterdir() if p.suffix != ".lock"]


def test_float16_is_what_an_export_of_float32_makes(source: Path, labels: Path) -> None:
    whole, half = imported(source, labels), imported(source, labels, dtype="float16")
    dest = source.parent / "half.zarr"
    export(whole, dest, "zarr", codec_for(whole, "zarr", "float16", None))
    files = [
        {p.relative_to(root): p.read_bytes() for p in Path(root).rglob("*") if p.is_file()}
        for root in (dest, half.path)
    ]
    assert files[0] == files[1]


def test_float16_that_overflows_leaves_no_store(source: Path, labels: Path) -> None:
    np.save(source / "c.npy", np.full((4, DIM), 1e6, np.float32))
    with pytest.raises(InputError, match="A feature is 1e\\+06, but float16 holds at most 65504"):
        imported(source, labels, dtype="float16")
    assert not [p for p in (source.parent / "stores").iterdir() if p.suffix != ".lock"]


def test_long_clips_are_read_block_by_block(
    source: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = imported(source, labels)
    sizes: list[int] = []
    monkeypatch.setattr(npy_arrays, "BLOCK_BYTES", 8 * DIM * 2)
    rounded = clip_content._rounded
    monkeypatch.setattr(
        clip_content, "_rounded", lambda block, own: sizes.append(len(block)) or rounded(block, own)
    )
    options = ImportOptions(source=source, labels=labels, store=source.parent / "again")
    found = prepare_import(options, silent)
    import_store(found, silent)
    assert max(sizes) == 2
    assert found.key == whole.key
    store = featstore.open(found.path)
    np.testing.assert_array_equal(store.rows.span(0, 14), whole.rows.span(0, 14))
