import json
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest

import featstore
from featstore import CorruptStoreError, InputError, Store
from featstore.exchange.export import codec_for, copy_store, export
from featstore.exchange.npy_folder import file_names
from featstore.format import schema
from featstore.format.codecs import Codec
from featstore.keys import store_key
from featstore.writing.destinations import format_of
from tests.stores import DIM, SIZES, contents, features, write_store


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def same(one: Store, other: Store) -> None:
    assert one.key == other.key
    assert one.classes == other.classes
    for name in schema.ARRAYS:
        np.testing.assert_array_equal(one.columns[name], other.columns[name])
    np.testing.assert_array_equal(one.rows.span(0, sum(SIZES)), other.rows.span(0, sum(SIZES)))


def send(store: Store, dest: Path | str, **how: str) -> dict[str, float] | None:
    form = format_of(dest)
    codec = codec_for(store, form, how.get("dtype"), how.get("compression"))
    return export(store, dest, form, codec)


@pytest.mark.parametrize("compression", ["none", "zstd", "blosc"])
def test_zarr_by_way_of_hdf5_is_the_same_bytes(tmp_path: Path, compression: str) -> None:
    made = contents(codec=Codec(compression=compression))
    store = featstore.open(write_store(tmp_path / "a.zarr", made))
    send(store, tmp_path / "b.h5")
    middle = featstore.open(tmp_path / "b.h5")
    same(store, middle)
    send(middle, tmp_path / "c.zarr", compression=compression)
    assert tree(tmp_path / "c.zarr") == tree(tmp_path / "a.zarr")


def test_archive_holds_the_bytes_of_the_folder(tmp_path: Path, store: Store) -> None:
    send(store, tmp_path / "a.zarr.zip")
    with zipfile.ZipFile(tmp_path / "a.zarr.zip") as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == tree(Path(store.path))
    same(store, featstore.open(tmp_path / "a.zarr.zip"))


def test_upload_ends_with_the_root_and_refuses_what_is_there(tmp_path: Path, store: Store) -> None:
    url = f"memory://{tmp_path.name}/a.zarr"
    system, root = fsspec.url_to_fs(url)
    order: list[str] = []
    pipe = system.pipe_file
    system.pipe_file = lambda path, *rest: (order.append(path), pipe(path, *rest))
    try:
        send(store, url)
    finally:
        del system.pipe_file
    assert order[-1].endswith("a.zarr/zarr.json")
    same(store, featstore.open(url))
    with pytest.raises(InputError, match=r"zarr\.json"):
        send(store, url)
    system.rm(f"{root}/zarr.json")  # as a killed upload leaves it
    send(store, url)
    same(store, featstore.open(url))


@pytest.mark.parametrize("name", ["a.zarr", "a.h5", "a.zarr.zip", "a"])
def test_nothing_is_overwritten_or_left_half_written(
    tmp_path: Path, store: Store, store_path: Path, name: str
) -> None:
    dest = tmp_path / "out" / name
    dest.parent.mkdir()
    dest.write_text("mine")
    with pytest.raises(InputError, match="exists; pass another destination"):
        send(store, dest)
    assert dest.read_text() == "mine"
    dest.unlink()
    chunk = store_path / "features/c/2/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\1")
    with pytest.raises(CorruptStoreError, match="chunk 2"):
        send(featstore.open(store_path), dest)
    assert list(dest.parent.iterdir()) == []


@pytest.mark.parametrize("dest", ["a.zarr", "a.h5", "a.zarr.zip", "memory://half/a.zarr"])
def test_float16_has_the_key_of_a_build_and_states_its_error(
    tmp_path: Path, store: Store, dest: str
) -> None:
    place = dest if "://" in dest else tmp_path / dest
    error = send(store, place, dtype="float16")
    half = featstore.open(place)
    assert half.dtype == "float16"
    assert half.attributes["features"] == {"size": 224, "dtype": "float16"}
    assert half.key == store_key(
        half.attributes["features"], store.classes, store.clip_keys(), subjects_known=True
    )
    exact = features().astype(np.float64)
    rounded = features().astype(np.float16)
    np.testing.assert_array_equal(half.rows.span(0, len(exact)), rounded)
    lost = rounded - exact
    assert error is not None
    assert error["largest_absolute"] == np.abs(lost).max()
    assert error["relative_rms"] == pytest.approx(np.linalg.norm(lost) / np.linalg.norm(exact))
    with pytest.raises(InputError, match=r"holds float16.*--dtype float32"):
        send(half, tmp_path / "back.zarr", dtype="float32")


def test_float16_refuses_what_is_too_large_beside_a_failed_clip(tmp_path: Path) -> None:
    made = contents([2, 3])
    made.columns["status"][0] = schema.STATUS_FAILED
    rows = np.full((5, DIM), np.nan, np.float32)
    rows[2:] = 1e5
    from featstore.writing.writer import StoreWriter

    writer = StoreWriter(tmp_path / "a.zarr", made)
    writer.write(0, rows)
    writer.seal()
    with pytest.raises(InputError, match=r"feature is 100000, but float16.*65504"):
        send(featstore.open(tmp_path / "a.zarr"), tmp_path / "b.zarr", dtype="float16")


def test_hdf5_and_npy_refuse_compression(store: Store) -> None:
    for form in ("hdf5", "npy"):
        with pytest.raises(InputError, match="always uncompressed"):
            codec_for(store, form, None, "zstd")


def test_hdf5_of_a_compressed_store_is_plain(tmp_path: Path) -> None:
    made = contents(codec=Codec(compression="zstd"))
    store = featstore.open(write_store(tmp_path / "a.zarr", made))
    copy_store(store, tmp_path / "b.h5")
    same(store, featstore.open(tmp_path / "b.h5"))


@pytest.mark.parametrize(
    ("dest", "wanted", "form"),
    [
        ("a.zarr", None, "zarr"),
        ("a.zarr/", None, "zarr"),
        ("a.h5", "hdf5", "hdf5"),
        ("a.zarr.zip", None, "zip"),
        ("a.d/a", None, "npy"),
        ("a.v2", "npy", "npy"),
        ("s3://b/a.zarr", None, "zarr"),
    ],
)
def test_suffix_says_the_format(dest: str, wanted: str | None, form: str) -> None:
    assert format_of(dest, wanted) == form


@pytest.mark.parametrize(
    ("dest", "wanted", "words"),
    [
        ("a.hdf5", None, "a.hdf5 has an unknown suffix"),
        ("a.zarr", "hdf5", "name it a.h5"),
        ("a", "zarr", "name it a.zarr"),
        ("a.zarr", "npy", "name it a"),
        ("s3://b/a.h5", None, "not a Zarr store"),
        ("file:///a.zarr", None, "without file://"),
    ],
)
def test_misnamed_destinations_are_refused(dest: str, wanted: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        format_of(dest, wanted)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_folder_of_npy_holds_every_clip(tmp_path: Path, store: Store, dtype: str) -> None:
    error = send(store, tmp_path / "out", dtype=dtype)
    assert (error is None) == (dtype == "float32")
    for number in range(len(store)):
        # Clips straddle chunks of 5 rows, and é is no letter of a safe file name.
        found = np.load(tmp_path / "out/features" / file_names(store.clip_ids.tolist())[number])
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, store[number].astype(dtype))
    np.testing.assert_array_equal(np.load(tmp_path / "out/time.npy"), store.columns["time"])
    described = json.loads((tmp_path / "out/store.json").read_text("utf-8"))
    assert described["classes"] == ["sit", "walk", "never"]
    assert (described["attributes"]["key"] == store.key) == (dtype == "float32")


def test_file_names_are_unique_whatever_the_case() -> None:
    ids = ["a/b", "a_b", "A_B", "a_b-2", "..", "", "é", "x" * 300, "x" * 301, "a_b"]
    names = file_names(ids)
    assert len({name.casefold() for name in names}) == len(ids)
    assert all(name[0].isalnum() and len(name) < 120 for name in names)
    assert not any(set(name) & set('/\\:*?"<>| ') for name in names)
