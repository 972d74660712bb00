"""A store that is not sealed is none, at any place."""

import numpy as np
import pytest

import featstore
from featstore.exchange import export as convert
from featstore.format.files import Bucket
from featstore.writing.writer import StoreWriter
from tests.featstore.places import SIZES, Place
from tests.stores import contents, write_store


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_an_unsealed_store_is_none(tmp_path, suffix: str) -> None:
    final = tmp_path / f"s{suffix}"
    made = contents(SIZES, chunk_rows=256)
    writer = StoreWriter(final, made)
    for number, (first, last) in enumerate(made.layout.units()):
        writer.write(number, Place().expected[first:last])
    for path in (final, *tmp_path.iterdir()):
        with pytest.raises(featstore.StoreNotFoundError, match="no store at"):
            featstore.open(path)


def test_a_store_packed_halfway_is_none(tmp_path, monkeypatch) -> None:
    from featstore.format import hdf5_writer

    def crash(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(hdf5_writer, "_rest", crash)
    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "s.h5", contents(SIZES))
    assert not (tmp_path / "s.h5").exists()
    packing = tmp_path / ".s.h5.packing"
    assert packing.is_file()
    with pytest.raises(featstore.StoreNotFoundError, match="no store at"):
        featstore.open(packing)


def test_an_interrupted_upload_is_no_store(tmp_path, bucket, monkeypatch) -> None:
    store = featstore.open(write_store(tmp_path / "s.zarr"))
    url = f"{bucket}/{tmp_path.name}/s.zarr"
    write, written = Bucket.write, []

    def interrupted(self: Bucket, name: str, content: bytes) -> None:
        if name == "zarr.json":
            raise KeyboardInterrupt
        written.append(name)
        write(self, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert.upload(store, url)
    assert sorted(written) == sorted(store.attributes["seal"]["files"])
    with pytest.raises(featstore.StoreNotFoundError, match="s3://"):
        featstore.open(url)
    convert.upload(store, url)
    np.testing.assert_array_equal(featstore.open(url)[3], store[3])
    with pytest.raises(featstore.InputError, match="remove it or pass another"):
        convert.upload(store, url)


def test_an_absent_bucket_is_said(tmp_path, bucket) -> None:
    store = featstore.open(write_store(tmp_path / "s.zarr"))
    with pytest.raises(featstore.StoreNotFoundError, match="s3://absent/"):
        featstore.open("s3://absent/s.zarr")
    with pytest.raises(featstore.InputError, match=r"s3://absent/.*written"):
        convert.upload(store, "s3://absent/s.zarr")
