"""Tools that know nothing of featstore read what it writes."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore.format import schema
from tests.featstore.places import PLACES, SIZES, STEPS, Place
from tests.stores import DIM, contents

NUMBERS = [name for name, (dtype, *_) in schema.ARRAYS.items() if dtype != "string"]
ZARR = [name for name, place in PLACES.items() if place.kind in ("zarr", "zip", "s3")]
HDF5 = [name for name, place in PLACES.items() if place.kind == "h5"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, request):
    """Make a store of a place once for all tools."""
    there: dict[str, tuple[Place, Path | str]] = {}

    def make(name: str) -> tuple[Place, Path | str]:
        if name not in there:
            place = PLACES[name]
            url = request.getfixturevalue("bucket") if place.remote else ""
            there[name] = place, place.make(tmp_path_factory.mktemp(name), url)
        return there[name]

    return make


def check_dataset(place: Place, where: Path | str, opened) -> None:
    """Compare an xarray dataset with what was written, and with ours."""
    assert opened["features"].dims == ("step", "feature")
    assert opened["features"].values.tobytes() == place.expected.tobytes()
    assert opened["row_size"].attrs == {"sample_dimension": "step"}
    assert opened["time"].attrs == {"units": "s"}
    assert opened.attrs["key"] == "ab" * 32
    own = featstore.open(where).to_xarray()
    assert set(opened.variables) == set(own.variables)
    assert dict(opened.sizes) == dict(own.sizes)
    for name, values in contents(SIZES).columns.items():
        assert opened[name].dims == own[name].dims
        assert opened[name].values.tolist() == own[name].values.tolist() == values.tolist()


@pytest.mark.parametrize("name", [name for name in ZARR if name != "zip"])
def test_xarray_opens_zarr(made, name: str) -> None:
    import xarray

    place, where = made(name)
    with xarray.open_zarr(where, consolidated=False) as opened:
        check_dataset(place, where, opened)


@pytest.mark.parametrize("name", HDF5)
def test_xarray_opens_hdf5(made, name: str) -> None:
    import xarray

    place, where = made(name)
    with xarray.open_dataset(where, engine="h5netcdf") as opened:
        check_dataset(place, where, opened)


@pytest.mark.parametrize("name", [name for name in ZARR if PLACES[name].kind == "zarr"])
def test_tensorstore_opens_zarr(made, name: str) -> None:
    import tensorstore

    place, where = made(name)
    columns = {key: contents(SIZES).columns[key] for key in NUMBERS}
    for array, values in {"features": place.expected, **columns}.items():
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(where / array)}}
        opened = tensorstore.open(spec, read=True).result()
        assert opened.domain.labels[0] in ("step", "clip")
        np.testing.assert_array_equal(opened.read().result(), values)


@pytest.mark.parametrize("name", ZARR)
def test_zarr_opens_zarr(made, name: str) -> None:
    import zarr
    from zarr.storage import ZipStore

    place, where = made(name)
    group = zarr.open_group(ZipStore(where) if name == "zip" else where, mode="r")
    assert set(group.array_keys()) == {"features", *schema.ARRAYS}
    assert group.attrs["key"] == "ab" * 32
    features = group["features"]
    assert features.chunks == (place.chunk_rows, DIM)
    assert features.shape == (STEPS, DIM)
    assert features[...].tobytes() == place.expected.tobytes()
    for array, values in contents(SIZES).columns.items():
        assert group[array][...].tolist() == values.tolist()
        assert group[array].metadata.dimension_names == (schema.ARRAYS[array][1],)
    group.store.close()


@pytest.mark.parametrize("name", HDF5)
def test_h5py_opens_hdf5(made, name: str) -> None:
    import h5py

    place, where = made(name)
    with h5py.File(where, "r") as file:
        assert file.attrs["key"] == "ab" * 32
        features = file["features"]
        assert features.chunks == (place.chunk_rows, DIM)
        assert features[...].tobytes() == place.expected.tobytes()
        assert [axis[0].name for axis in features.dims] == ["/step", "/feature"]
        for array, values in contents(SIZES).columns.items():
            dataset = file[array]
            text = h5py.check_string_dtype(dataset.dtype)
            assert (dataset.asstr() if text else dataset)[...].tolist() == values.tolist()
            assert dataset.dims[0][0].name == f"/{schema.ARRAYS[array][1]}"
            assert (text is None) == (array in NUMBERS)


@pytest.mark.skipif(not shutil.which("h5dump"), reason="h5dump is not installed")
@pytest.mark.parametrize("name", ["hdf5", "hdf5-unmapped"])
def test_h5dump_opens_hdf5(made, name: str) -> None:
    place, where = made(name)

    def dump(array: str) -> list[str]:
        command = ["h5dump", "-d", f"/{array}", "-y", "-m", "%.9g", where]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        data = done.stdout.partition("DATA {")[2].partition("}")[0]
        return [value.strip().strip('"') for value in data.split(",")]

    # Nine digits are enough to tell all float32 numbers apart.
    features = np.array([float(value) for value in dump("features")], np.float32)
    np.testing.assert_array_equal(features.reshape(-1, DIM), place.expected)
    assert [int(value) for value in dump("row_size")] == SIZES
    assert dump("label_name") == ["sit", "walk", "never"]
    done = subprocess.run(["h5dump", "-H", where], capture_output=True, text=True, check=True)
    for array in ("features", *schema.ARRAYS):
        assert f'DATASET "{array}"' in done.stdout
