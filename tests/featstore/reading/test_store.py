import json
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore.format import schema
from tests.stores import DIM, SIZES, contents, features, write_store

CLIPS = np.split(features(), np.cumsum(SIZES)[:-1])


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
    with pytest.raises(IndexError, match=r"clip 5 .* 5 clips"):
        store[5]


def test_failed_clips_are_in_no_part(tmp_path) -> None:
    made = contents()
    made.columns["status"][3] = schema.STATUS_FAILED  # type: ignore[index]
    store = featstore.open(write_store(tmp_path / "s.zarr", made))
    assert store.split("train").tolist() == [0]
    assert store.split("val").tolist() == [1, 4]


def test_no_store(tmp_path) -> None:
    with pytest.raises(featstore.StoreNotFoundError, match="no store at"):
        featstore.open(tmp_path / "none.zarr")


def test_unsealed_store_is_no_store(tmp_path) -> None:
    from featstore.writing.writer import StoreWriter

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
    with pytest.raises(featstore.CorruptStoreError, match="changed after the store was sealed"):
        featstore.open(store_path)


def test_truncated_metadata_are_noticed(store_path) -> None:
    root = store_path / "zarr.json"
    root.write_text(root.read_text("utf-8")[:100], "utf-8")
    with pytest.raises(featstore.CorruptStoreError, match="not the metadata"):
        featstore.open(store_path)


def damage_file(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
        return
    if damage == "short":
        del content[-1]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
def test_damaged_decoded_chunk_is_named_where_it_is_read(store_path, damage: str) -> None:
    damage_file(store_path / "features/c/1/0", damage)
    store = featstore.open(store_path)
    np.testing.assert_array_equal(store[0], CLIPS[0])
    with pytest.raises(featstore.CorruptStoreError, match=r"features/c/1/0 |: chunk 1 of"):
        store[2]


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_damaged_mapped_chunk_is_named_at_the_first_use_of_any(tmp_path, damage: str) -> None:
    sizes = [200, 300, 100]
    path = write_store(tmp_path / "s.zarr", contents(sizes, chunk_rows=256))
    damage_file(path / "features/c/1/0", damage)
    store = featstore.open(path)
    assert len(store) == 3
    with pytest.raises(featstore.CorruptStoreError, match=r"features/c/1/0"):
        store[0]


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
    from featstore.writing.writer import StoreWriter

    made = contents()
    writer = StoreWriter(tmp_path / "s.zarr", made)
    units = made.layout.units()
    for number, (first, last) in enumerate(units):
        value = np.nan if number else 0
        writer.write(number, np.full((last - first, DIM), value, np.float32))
    writer.seal()
    chunks = sorted(path.parent.name for path in (tmp_path / "s.zarr/features/c").glob("*/0"))
    assert chunks == [str(number) for number in range(len(units))]
    store = featstore.open(tmp_path / "s.zarr")
    assert (store[0] == 0).all()
    assert np.isnan(store[4]).all()


def test_same_content_is_same_bytes(tmp_path) -> None:
    first, second = (write_store(tmp_path / name / "s.zarr") for name in ("a", "b"))
    for path in first.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


@pytest.mark.parametrize(
    ("old", "new"), [('"zarr_format": 3', '"zarr_format": 2'), ('"group"', '"array"')]
)
def test_changed_kind_of_root_is_noticed(store_path, old: str, new: str) -> None:
    root = store_path / "zarr.json"
    text = root.read_text("utf-8")
    assert old in text
    root.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(featstore.CorruptStoreError, match="not the metadata"):
        featstore.open(store_path)


@pytest.mark.parametrize("name", ["label/c/0", "row_size/zarr.json", "frame/c/0", "clip_id/c/0"])
@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_small_files_are_checked_at_opening(store_path, name: str, damage: str) -> None:
    damage_file(store_path / name, damage)
    with pytest.raises(featstore.CorruptStoreError, match=name):
        featstore.open(store_path)


def test_an_unknown_part_is_an_error(store) -> None:
    with pytest.raises(ValueError, match="part is 'trian'"):
        store.split("trian")
