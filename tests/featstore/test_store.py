import json

import numpy as np
import pytest

import featstore
from featstore import schema
from featstore import store as store_module
from tests.stores import DIM, SIZES, contents, features, write_store

CLIPS = np.split(features(), np.cumsum(SIZES)[:-1])


def test_clips_come_back_bit_for_bit(store) -> None:
    assert len(store) == len(SIZES)
    for clip, expected in zip(store, CLIPS, strict=True):
        np.testing.assert_array_equal(clip, expected)
        assert clip.dtype == np.float32


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 7, 16, 100])
def test_chunks_do_not_change_what_is_read(tmp_path, chunk_rows: int) -> None:
    store = featstore.open(write_store(tmp_path / "s.zarr", contents(chunk_rows=chunk_rows)))
    for clip, expected in zip(store, CLIPS, strict=True):
        np.testing.assert_array_equal(clip, expected)


def test_clips_are_read_only_views_or_copies(store) -> None:
    inside, straddling = store[0], store[1]
    assert not inside.flags.writeable
    assert not inside.flags.owndata
    assert not straddling.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        straddling[0] = 0


def test_index_counts_from_the_end_and_is_checked(store) -> None:
    np.testing.assert_array_equal(store[-1], CLIPS[-1])
    with pytest.raises(IndexError, match="5 of a store with 5"):
        store[5]


def test_columns(store) -> None:
    assert store.clip_ids.tolist() == [f"run/é{i}" for i in range(5)]
    assert store.classes == ("sit", "walk", "never")
    assert store.labels.tolist() == [0, 1, 0, 1, 0]
    assert store.subjects.tolist() == ["ann", "bob", "cid", "ann", "bob"]
    assert store.splits.tolist() == ["train", "val", "test", "train", "val"]
    assert store.videos.tolist() == ["v.mp4"] * 5
    assert store.frames(2).tolist() == [21, 24]
    np.testing.assert_allclose(store.times(2), [0.7, 0.8])


def test_failed_clips_are_in_no_part(tmp_path) -> None:
    made = contents()
    made.columns["status"][3] = schema.STATUS_FAILED  # type: ignore[index]
    store = featstore.open(write_store(tmp_path / "s.zarr", made))
    assert store.split("train").tolist() == [0]
    assert store.split("val").tolist() == [1, 4]


def test_maps_stay_few(store, monkeypatch) -> None:
    monkeypatch.setattr(store_module, "OPEN_MAPS", 2)
    for _ in range(2):
        for clip, expected in zip(store, CLIPS, strict=True):
            np.testing.assert_array_equal(clip, expected)
    assert len(store._maps) == 2


def test_no_store(tmp_path) -> None:
    with pytest.raises(featstore.StoreNotFoundError, match="no store at"):
        featstore.open(tmp_path / "none.zarr")


def test_unsealed_store_is_no_store(tmp_path) -> None:
    from featstore.writer import StoreWriter

    writer = StoreWriter(tmp_path / "s.zarr", contents())
    assert not (tmp_path / "s.zarr").exists()
    building = next(tmp_path.glob(".*.building"))
    with pytest.raises(featstore.FeatstoreError):
        featstore.open(building)
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_newer_schema_is_refused(tmp_path) -> None:
    made = contents(**{schema.SCHEMA_ATTRIBUTE: schema.VERSION + 1})
    path = write_store(tmp_path / "s.zarr", made)
    with pytest.raises(featstore.SchemaError, match="upgrade featstore"):
        featstore.open(path)


def test_foreign_zarr_is_refused(tmp_path) -> None:
    import zarr

    zarr.create_group(tmp_path / "s.zarr", zarr_format=3)
    with pytest.raises(featstore.SchemaError, match="not a featstore store"):
        featstore.open(tmp_path / "s.zarr")


def test_changed_metadata_are_noticed(store_path) -> None:
    root = store_path / "zarr.json"
    text = root.read_text("utf-8")
    root.write_text(text.replace('"size": 224', '"size": 112'), "utf-8")
    with pytest.raises(featstore.CorruptStoreError, match="changed after it was sealed"):
        featstore.open(store_path)


def test_truncated_metadata_are_noticed(store_path) -> None:
    root = store_path / "zarr.json"
    root.write_text(root.read_text("utf-8")[:100], "utf-8")
    with pytest.raises(featstore.CorruptStoreError, match="not the metadata"):
        featstore.open(store_path)


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_damaged_chunk_is_named(store_path, damage: str) -> None:
    chunk = store_path / "features/c/1/0"
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:-1])
    store = featstore.open(store_path)
    np.testing.assert_array_equal(store[0], CLIPS[0])
    with pytest.raises(featstore.CorruptStoreError, match=r"features/c/1/0"):
        store[2]


def test_seal_lists_every_file_with_its_checksum(store_path) -> None:
    import hashlib

    seal = json.loads((store_path / "zarr.json").read_text("utf-8"))["attributes"]["seal"]
    files = {
        path.relative_to(store_path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store_path.rglob("*")
        if path.is_file() and path != store_path / "zarr.json"
    }
    assert seal == {"algorithm": "sha256", "files": files}


def test_chunks_of_nan_and_zeros_are_files(tmp_path) -> None:
    from featstore.writer import StoreWriter

    made = contents()
    writer = StoreWriter(tmp_path / "s.zarr", made)
    for first, last in made.layout.units():
        value = np.nan if first else 0
        writer.write(first, np.full((last - first, DIM), value, np.float32))
    writer.seal({})
    chunks = len(list((tmp_path / "s.zarr/features/c").rglob("0")))
    assert chunks >= len(made.layout.units())
    store = featstore.open(tmp_path / "s.zarr")
    assert (store[0] == 0).all()
    assert np.isnan(store[4]).all()


def test_same_content_is_same_bytes(tmp_path) -> None:
    first, second = (write_store(tmp_path / name / "s.zarr") for name in ("a", "b"))
    for path in first.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_xarray_opens_it(store_path) -> None:
    import xarray

    with xarray.open_zarr(store_path, consolidated=False) as opened:
        np.testing.assert_array_equal(opened["features"].values, features())
        assert opened["features"].dims == ("step", "feature")
        assert opened["row_size"].attrs == {"sample_dimension": "step"}
        assert opened["row_size"].values.tolist() == SIZES
        assert opened["clip_id"].values.tolist() == [f"run/é{i}" for i in range(5)]
        assert opened["time"].attrs == {"units": "s"}


@pytest.mark.parametrize("name", ["features", "row_size", "label", "frame", "time", "status"])
def test_tensorstore_opens_it(store_path, name: str) -> None:
    import tensorstore
    import zarr

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store_path / name)}}
    found = tensorstore.open(spec, read=True).result().read().result()
    np.testing.assert_array_equal(found, zarr.open_array(store_path / name, mode="r")[...])


@pytest.mark.parametrize("name", ["label/c/0", "row_size/zarr.json", "frame/c/1", "clip_id/c/0"])
@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_small_files_are_checked_at_opening(store_path, name: str, damage: str) -> None:
    path = store_path / name
    if damage == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(featstore.CorruptStoreError, match=name):
        featstore.open(store_path)


def test_an_unknown_part_is_an_error(store) -> None:
    with pytest.raises(ValueError, match="part is 'trian'; it is one of train, val, test"):
        store.split("trian")
